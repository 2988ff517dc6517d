#!/usr/bin/perl
# An indexer that is told on stdin when to lock the archive and work on it, and says when it has it. Ends with its input.
use strict;
use warnings;
use Fcntl qw(:flock);
use FindBin;
use lib $FindBin::Bin;
use Spent;

use constant { COMPUTES => 0.050, RESTS => 0.035 };

$| = 1;
open my $archive, '>', 'archive' or die;
while (<STDIN>) {
    flock $archive, LOCK_EX or die;
    print "locked\n";
    Spent::compute(COMPUTES);
    Spent::nap(RESTS);
    flock $archive, LOCK_UN;
}
Spent::tell('indexer');
