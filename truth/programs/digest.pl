#!/usr/bin/perl
# Reads converted orders and adds each to a digest; says what the one before did while it waited for it.
use strict;
use warnings;
use FindBin;
use List::Util qw(max min);
use lib $FindBin::Bin;
use Spent;

use constant OWN => 0.030;

my (%convert, @done);
my $from = Spent::now();
while (<STDIN>) {
    if (/^(\w+) (\d+) (\d+)/) {
        push @done, [$1, $2 / 1e6, $3 / 1e6];
        next;
    }
    my $to = Spent::now();
    $convert{$_->[0]} += max(0, min($to, $_->[2]) - max($from, $_->[1])) for @done;
    @done = ();
    Spent::compute(OWN);
    $from = Spent::now();
}
Spent::tell('digest');
printf STDERR "truth convert %s %d\n", $_, $convert{$_} * 1e6 for sort keys %convert;
