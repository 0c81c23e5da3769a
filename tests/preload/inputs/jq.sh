# jq.sh: generates records and takes them apart.
set -e
jq -nc 'range(8000) | {id: ., name: "user\(. * 7919 % 4001)", tags: [range(. % 4) | "t\(.)"], nested: {a: [., {b: null}], s: ("x" * (. % 20 + 1))}}' > records
md5sum < records
jq -s 'group_by(.tags | length) | map({n: length, first: .[0].name, sum: (map(.id) | add)})' records
jq -c 'select(.id % 1000 == 7) | .. |= (if type == "string" then ascii_upcase else . end)' records
jq -s -c '[.[] | .nested.s | length] | [min, max, add]' records
jq -r '[.id, .name, (.tags | join("+"))] | @csv' records | tail -2
jq -c '[paths] | length' records | sort -n | uniq -c
