# gcc.sh: compiles a generated C file of some size; the object must be the same bytes.
set -e
{
    echo '#include <stdio.h>'
    echo '#include <stdlib.h>'
    echo '#include <string.h>'
    i=0
    while [ $i -lt 50 ]; do
        echo "struct s$i { int a, b[$((i % 7 + 1))]; struct s$i *next; const char *name; };"
        echo "static int f$i(struct s$i *p, int n) { int sum = $i; for (int k = 0; k < n; k++) {"
        echo " switch ((k + $i) % 5) { case 0: sum += p->a * k; break; case 1: sum ^= p->b[0] << (k & 7); break;"
        echo " case 2: if (p->next) sum += f$i(p->next, n / 2); break; default: sum -= (int)strlen(p->name) * $((i * 3)); } }"
        echo " return sum; }"
        echo "int g$i(int n) { struct s$i x = { n, { 1 }, 0, \"name$i\" }, y = { n + 1, { 2 }, &x, \"other\" };"
        echo " char text[64]; snprintf(text, sizeof text, \"%d-%s\", f$i(&y, n), y.name); return atoi(text) + (int)qsort; }" |
            sed 's/ + (int)qsort//'
        i=$((i + 1))
    done
    echo 'int main(void) { int sum = 0;'
    i=0
    while [ $i -lt 50 ]; do echo "sum += g$i(sum & 15);"; i=$((i + 1)); done
    printf '%s\n' 'printf("%d\n", sum); return 0; }'
} > made.c
gcc -O2 -g -Wall -frandom-seed=1 "-fdebug-prefix-map=$PWD=." -c made.c -o made.o
md5sum made.o
gcc -O1 -S made.c -o - | md5sum
gcc made.o -o made
./made
