# xz.sh: compresses in two threads and back.
set -e
awk 'BEGIN { for (i = 0; i < 70000; i++) print i * 7919 % 100003, "line", i % 977, "abc" i % 13 }' > plain
xz -2 -T2 --block-size=400KiB -k -c plain > packed.xz
md5sum < packed.xz
xz -dc -T2 packed.xz | cmp - plain
xz -3 -T2 --block-size=1MiB -c plain | xz -t
xz --list --robot packed.xz | tail -1
