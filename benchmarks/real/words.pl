# words.pl FILE: counts, sorts and rewrites the words of a text: hashes, arrays and strings.
use strict;
use warnings;

my (%count, %lines, @lengths, $checked);
open my $text, '<', $ARGV[0] or die "$ARGV[0]: $!\n";
while (my $line = <$text>) {
    chomp $line;
    my ($number, @words) = split / /, $line;
    for my $word (@words) {
        $count{$word}++;
        push @{$lines{$word}}, $number if @{$lines{$word} // []} < 20;
    }
    push @lengths, [scalar @words, length $line];
    my $other = join '-', map { ucfirst } grep { /[aeo]/ } @words;
    $other =~ s/([a-z])\1/$1/g;
    $checked += length $other;
}
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
my $index = join ';', map { "$_=" . join ',', @{$lines{$_}} } @order;
printf "%d %d %d %s %d\n", scalar @order, scalar @lengths, $checked, $order[0], length $index;
