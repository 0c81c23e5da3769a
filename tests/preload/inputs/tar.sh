# tar.sh: packs a tree with links and long names in two formats, compresses, appends, compares,
# lists and unpacks.
set -e
mkdir -p "tree/a folder with a name that is rather long/$(printf '%0100d' 7)"
(cd tree && mkdir d0 d1 d2 d3 d4 d5 d6 d7 d8 d9)
awk 'BEGIN { for (i = 0; i < 250; i++) {
    name = "tree/d" i % 10 "/file" i "-" sprintf("%0*d", i % 90, 1)
    printf("%0*d\n", i % 500, i) > name
    close(name)
} }'
ln -s d1 tree/link
ln tree/d0/file0-1 tree/hard
cp tree/hard "tree/a folder with a name that is rather long/$(printf '%0100d' 7)/copy"
fixed="--sort=name --mtime=@1000000000 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX"
for format in gnu posix; do
    tar -c $fixed --format=$format -f $format.tar tree
    tar -tf $format.tar | md5sum
done
md5sum gnu.tar
tar -c $fixed -z -f packed.tar.gz tree
tar -c $fixed -J -f packed.tar.xz tree
for packed in packed.tar.gz packed.tar.xz posix.tar; do
    mkdir unpacked
    tar -x -f $packed -C unpacked
    diff -r tree unpacked/tree
    rm -r unpacked
done
tar -r $fixed -f gnu.tar tree/hard
tar -tvf gnu.tar --utc | tail -1
tar --transform='s,file,renamed,' --exclude='*5*' -cf - $fixed tree | tar -t | md5sum
