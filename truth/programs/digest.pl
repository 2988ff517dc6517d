#!/usr/bin/perl
# Reads converted orders and adds each to a digest. Given the two stages before it, it starts them, and says what the
# converter did while it waited; else it is the last of a chain, which whoever started it waits for: first the converter,
# whose end comes first, and then what is left to be done here.
# usage: PROGRAM [EXTRACT CONVERT]
use strict;
use warnings;
use FindBin;
use List::Util qw(max min);
use lib $FindBin::Bin;
use Spent;

use constant OWN => 0.030;

my (%convert, @done);
my $begin = Spent::now();
my $from = $begin;
if (@ARGV) {
    open STDIN, '-|', "$ARGV[0] | $ARGV[1]" or die;
}
while (<STDIN>) {
    if (/^(\w+) (\d+) (\d+) (\d+)/) {
        push @done, [$1, $2 / 1e6, $3 / 1e6, $4 / 1e6];
        next;
    }
    my $to = Spent::now();
    for my $done (@done) {
        my ($what, $since, $until, $cpu) = @$done;
        my $part = @ARGV ? max(0, min($to, $until) - max($from, $since)) / ($until - $since) : 1;
        $convert{$what} += $part * ($until - $since - $cpu);
        $convert{running} += $part * $cpu;
    }
    @done = ();
    Spent::clear() if not @ARGV;
    Spent::compute(OWN);
    $from = Spent::now();
}
Spent::tell('digest');
printf STDERR "truth convert %s %d\n", $_, $convert{$_} * 1e6 for sort keys %convert;
printf STDERR "job %d\n", (Spent::now() - $begin) * 1e6 if @ARGV;
