# work.pl: hashes, regular expressions, sorting, string building, closures, a fork.
use strict; use warnings; use Digest::MD5 qw(md5_hex); use Data::Dumper;
$Data::Dumper::Sortkeys = 1; $Data::Dumper::Indent = 1;
my (%count, @lines);
for my $i (1 .. 60000) {
    my $word = "w" . ($i * 7919 % 5003);
    $count{$word}++;
    push @lines, "$word:" . ("x" x ($i % 20)) . ":$i" if $i % 3 == 0;
}
my $text = join "\n", sort @lines;
my $n = () = $text =~ /w(\d+):(x*):/g;
(my $swapped = $text) =~ s/^(w\d+):(x*):(\d+)$/$3-$1-@{[length $2]}/mg;
print "lines $n ", md5_hex($swapped), "\n";
my @tree = map { my $k = $_; { name => $k, kids => [map { { id => $_, text => "$k-$_" } } 1 .. 20] } } 1 .. 300;
print "dump ", md5_hex(Dumper(\@tree)), "\n";
my @closures = map { my $v = $_; sub { $v * shift } } 1 .. 5000;
my $sum = 0; $sum += $closures[$_]->($_) for 0 .. $#closures;
print "closures $sum\n";
my %sorted = map { $_ => $count{$_} } (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9];
print "$_ $sorted{$_}\n" for sort keys %sorted;
my $pid = open(my $pipe, "-|") // die; 
if (!$pid) { my %h = map { $_ => [1 .. $_ % 10] } 1 .. 20000; print "child ", scalar(keys %h), "\n"; exit 0; }
print <$pipe>; close $pipe;
printf "format %s\n", md5_hex(join ",", map { sprintf "%08.3f|%-10s|%x", $_ / 7, "s$_", $_ } 1 .. 30000);
