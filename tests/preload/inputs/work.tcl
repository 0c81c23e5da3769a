# work.tcl: lists, dictionaries, strings, regular expressions, coroutines, interpreters, sorting.
set words {}
for {set i 0} {$i < 12000} {incr i} { lappend words "w[expr {$i * 7919 % 5003}]" }
puts "words [llength [lsort -unique $words]] [lindex [lsort -dictionary $words] 77]"
set d [dict create]
foreach w $words { dict incr d $w; dict lappend lists [string length $w] $w }
puts "dict [dict size $d] [dict get $d w17] [llength [dict get $lists 4]]"
set text [join $words " "]
puts "regexp [regexp -all {w(\d)\1} $text] [string length [regsub -all {w(\d+)} $text {<\1>}]]"
set map [string map {w1 One w2 Two w3 Three} $text]
puts "map [string length $map] [zlib crc32 $map]"
puts "zlib [string equal $map [zlib decompress [zlib compress $map 6]]]"
proc numbers n { yield; for {set i 0} {$i < $n} {incr i} { yield [string repeat "x$i" 5] } ; return end }
coroutine next numbers 3000
set total 0
while {[set v [next]] ne "end"} { incr total [string length $v] }
puts "coroutine $total"
for {set i 0} {$i < 15} {incr i} {
    set child [interp create]
    lappend sums [$child eval { set s 0; for {set i 0} {$i < 400} {incr i} { array set a [list k$i [list $i $s]]; incr s [lindex $a(k$i) 0] }; set s }]
    interp delete $child
}
puts "interp $sums"
oo::class create Node {
    variable children name
    constructor n { set name $n; set children {} }
    method add c { lappend children $c }
    method count {} { set n 1; foreach c $children { incr n [$c count] }; return $n }
    destructor { foreach c $children { $c destroy } }
}
for {set turn 0} {$turn < 6} {incr turn} {
    set root [Node new root]
    for {set i 0} {$i < 20} {incr i} {
        set c [Node new $i]
        $root add $c
        for {set j 0} {$j < 20} {incr j} { $c add [Node new $i.$j] }
    }
    lappend counts [$root count]
    $root destroy
}
puts "objects $counts"
set f [open made.txt w]
foreach w $words { puts $f $w }
close $f
set f [open made.txt]
set n 0
while {[gets $f line] >= 0} { incr n [string length $line] }
close $f
puts "file $n"
puts "exec [string trim [exec sort -u made.txt | wc -l]]"
