<?php
// work.php: arrays, strings, JSON, regular expressions, objects, sorting.
mt_srand(7);
class Node { public $kids = []; public $name; function __construct($n) { $this->name = $n; } }
function tree($depth, $name) {
    $node = new Node($name);
    for ($i = 0; $depth > 0 && $i < 6; $i++) $node->kids[] = tree($depth - 1, "$name.$i");
    return $node;
}
function count_nodes($n) { $c = 1; foreach ($n->kids as $k) $c += count_nodes($k); return $c; }
for ($turn = 0; $turn < 4; $turn++) {
    $t = tree(5, "r$turn");
    echo "tree ", count_nodes($t), " ", md5(json_encode($t)), "\n";
}
$rows = [];
for ($i = 0; $i < 30000; $i++) $rows[] = ['id' => $i, 'key' => 'k' . mt_rand(0, 999), 'text' => str_repeat(chr(97 + $i % 26), $i % 40)];
usort($rows, fn($a, $b) => [$a['key'], $a['id']] <=> [$b['key'], $b['id']]);
echo "sorted ", md5(serialize($rows)), "\n";
$back = json_decode(json_encode($rows), true);
echo "json ", $back === $rows ? "same" : "other", "\n";
$text = implode(' ', array_column($rows, 'text'));
echo "regex ", preg_match_all('/\b([a-m]+)\b/', $text, $m), " ", md5(preg_replace_callback('/[aeiou]+/', fn($m) => strtoupper($m[0]), $text)), "\n";
$groups = [];
foreach ($rows as $r) $groups[$r['key']][] = strlen($r['text']);
ksort($groups);
echo "groups ", count($groups), " ", md5(print_r(array_map('array_sum', $groups), true)), "\n";
$s = new SplObjectStorage; foreach (range(1, 5000) as $i) $s[new Node($i)] = $i;
echo "storage ", count($s), "\n";
