# vim.sh: substitutions, global commands, undo, registers, folds, syntax, and a script in vim's own
# language, without a screen.
set -e
awk 'BEGIN { for (i = 0; i < 6000; i++) print "line " i " " i * 7919 % 1009 " some words here" }' > text.txt
cat > script.vim << 'END'
set nocompatible undolevels=100 nomore
edit text.txt
%s/\(\d\+\) \(\d\+\)/\2:\1/
g/7:/normal! A <- seven
g/^line 9/m0
v/[0-4] some/d
let total = 0
for line in getline(1, '$')
    let total += len(split(line, '[: ]'))
endfor
call writefile(['fields ' . total], 'report.txt')
undo
undo
redo
%!sort
100,300yank a
$put a
sort n
let words = {}
for line in getline(1, '$')
    for word in split(line)
        let words[word] = get(words, word, 0) + 1
    endfor
endfor
call writefile(['words ' . len(words), string(sort(map(items(words), 'v:val[1]'))[-3:])], 'report.txt', 'a')
let deep = []
for i in range(80)
    let deep = [deep, {'a': repeat('x', i), 'b': range(i % 20)}]
endfor
call writefile([len(string(deep)), json_encode(range(50))], 'report.txt', 'a')
let g:Add = {n -> {x -> x + n}}
call writefile([string(map(range(2000), {_, v -> g:Add(v)(1)})[-1])], 'report.txt', 'a')
set filetype=c
write! changed.txt
new
call setline(1, map(range(2000), 'printf("%05d", v:val * 7919 % 10007)'))
sort
write! numbers.txt
quitall!
END
vim -u NONE -i NONE -n -es -S script.vim < /dev/null > messages 2>&1 || { cat messages; exit 1; }
cat report.txt
md5sum < changed.txt
md5sum < numbers.txt
