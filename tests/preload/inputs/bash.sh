# bash.sh: arrays, associative arrays, expansions, functions, traps, here-documents, substitutions,
# and a coprocess.
set -e
cat > script.bash << 'END'
declare -A count
for ((i = 0; i < 6000; i++)); do
    w=w$((i * 7919 % 701))
    count[$w]=$((${count[$w]:-0} + 1))
    list[i % 50]+=" $w"
done
echo "words ${#count[@]} ${count[w7]}"
total=0
for l in "${list[@]}"; do
    set -- $l
    total=$((total + $#))
    l=${l//w1/One}; l=${l^^}; last=${l##* }
done
echo "lists $total $last"
long=$(printf '%s ' {1..3000})
[[ $long =~ (1[0-9]9)\ ([0-9]+)\ .*(2[0-9]{3})\ $ ]] && echo "match ${BASH_REMATCH[@]:1}"
f() { local n=$1; ((n < 2)) && { echo $n; return; }; local a b; a=$(f $((n - 1))); b=$(f $((n - 2))); echo $((a + b)); }
echo "fib $(f 9)"
g() { local -a copy=("$@"); (($# > 1)) && g "${copy[@]:1}" || echo "deep $1"; }
g {1..150}
mapfile -t lines < <(seq 1 3000)
echo "mapfile ${#lines[@]} ${lines[-1]}"
sorted=($(printf '%s\n' "${!count[@]}" | sort))
echo "sorted ${sorted[0]} ${sorted[-1]}"
coproc tr { while read -r x; do echo "<$x>"; done; }
for i in 1 2 3; do echo $i >&${tr[1]}; read -r x <&${tr[0]}; echo "coproc $x"; done
trap 'echo "trapped"' USR1
kill -USR1 $$
text=
while read -r a b; do text+="$a-$b;"; done <<< "$(printf '%s line\n' {1..800})"
echo "read ${#text}"
printf -v padded '%-200s|' "${text:10:50}"
echo "${padded// /.}"
END
exec bash script.bash
