# git.sh: makes a repository with a fixed history; clones, logs, greps with threads, repacks.
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=author GIT_AUTHOR_EMAIL=author@example.org
export GIT_COMMITTER_NAME=author GIT_COMMITTER_EMAIL=author@example.org
git init -q -b main made
cd made
{
    i=1
    while [ $i -le 120 ]; do
        echo "commit refs/heads/main"
        echo "committer author <author@example.org> $((1000000000 + i * 60)) +0000"
        printf 'data 12\nmessage %03d\n' $i
        j=0
        while [ $j -lt 6 ]; do
            f=$(((i * 7 + j * 13) % 60))
            echo "M 100644 inline dir$((f % 6))/file$f.txt"
            body="file $f at commit $i word$((i * j % 17)) needle$((i % 11))
line two of $f $((i * 7919 % 1009)) and more text to fill it up
line three $((j * 31)) $((i * j)) the end"
            echo "data ${#body}"
            echo "$body"
            j=$((j + 1))
        done
        i=$((i + 1))
    done
} | git fast-import --quiet
git checkout -q main
cd ..
git clone -q --no-local made cloned 2>&1
cd cloned
git log --stat --format='%s %at' | md5sum
git log -p --follow --format=%s -- dir1/file7.txt | md5sum
git -c grep.threads=4 grep -n 'needle[37]' | sort | md5sum
git -c grep.threads=4 grep -c 'word1' HEAD~20 | sort | tail -3
git blame dir2/file8.txt | md5sum
git repack -q -a -d -f --threads=2 --window=20
git fsck --no-progress 2>&1
git rev-list --objects --all | wc -l
git diff --stat HEAD~40 HEAD | tail -1
git archive HEAD | md5sum
git gc -q --aggressive
git rev-parse HEAD
