# work.awk: associative arrays, string functions, regular expressions, dynamic fields.
BEGIN {
    PROCINFO["sorted_in"] = "@ind_str_asc"
    for (i = 1; i <= 60000; i++) {
        w = "w" (i * 7919 % 5003)
        count[w]++
        list[i % 100] = list[i % 100] " " w
    }
    for (k in count) { n += count[k]; if (count[k] > 12) many++ }
    print "words", n, many
    for (k in list) { m = split(list[k], f, " "); g = gensub(/w([0-9])([0-9]*)/, "\\2-\\1", "g", list[k]); total += m; len += length(g) }
    print "lists", total, len
    for (i = 1; i <= 30000; i++) { $0 = "a" i " b" (i % 7) " c"; $2 = $2 $3; s += length($0) }
    print "fields", s
    while (("seq 1 2000" | getline line) > 0) sum += line
    print "pipe", sum
}
