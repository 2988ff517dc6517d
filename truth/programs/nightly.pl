#!/usr/bin/perl
# A nightly run: a child tidies up, and then the lock that an indexer holds on the archive is waited for.
# usage: PROGRAM INDEXER
use strict;
use warnings;
use Fcntl qw(:flock);
use FindBin;
use IPC::Open2;
use lib $FindBin::Bin;
use Spent;

use constant { ROUNDS => 20, OWN => 0.015, TIDIES => 0.060, RESTS => 0.030 };

sub tidy {
    $0 = 'tidy';
    Spent::clear();
    Spent::compute(TIDIES);
    Spent::nap(RESTS);
    Spent::tell('tidy');
    exit 0;
}

open my $archive, '>', 'archive' or die;
my $indexer = open2(my $answers, my $orders, $ARGV[0]);
$orders->autoflush(1);
my $begin = Spent::now();
for (1 .. ROUNDS) {
    Spent::compute(OWN);
    my $child = fork // die;
    tidy() if $child == 0;
    waitpid $child, 0;
    print $orders "index\n";
    <$answers>;
    flock $archive, LOCK_EX or die;
    flock $archive, LOCK_UN;
}
Spent::tell('nightly');
printf STDERR "job %d\n", (Spent::now() - $begin) * 1e6;
close $orders;
waitpid $indexer, 0;
