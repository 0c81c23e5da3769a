# words.awk: counts words, keeps an index of lines, and rewrites fields of a text.
{
  for (i = 2; i < NF; i++) {
    count[$i]++
    if (count[$i] <= 20) where[$i] = where[$i] "," $1
    pair[$i " " $(i + 1)]++
  }
  $2 = toupper($2)
  gsub(/ee/, "E")
  checked += length($0)
  split($0, part, /[aeiou]+/)
  checked += length(part)
}
END {
  for (word in count) {
    words++
    text = sprintf("%s:%d:%s", word, count[word], substr(where[word], 1, 40))
    checked += length(text)
    if (count[word] > most || (count[word] == most && word < best)) {
      most = count[word]
      best = word
    }
  }
  for (two in pair) pairs++
  print words, pairs, checked, best, most
}
