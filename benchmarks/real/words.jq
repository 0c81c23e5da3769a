# words.jq: how often each word of a text occurs, by sorting all of them: arrays and strings, made
# and dropped.
[inputs | split(" ")[]] | group_by(.) | map({word: .[0], times: length})
| sort_by(-.times, .word) | .[:20][] | "\(.word) \(.times)"
