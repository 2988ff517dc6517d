# What this process spent its time on, by CLOCK_MONOTONIC.
package Spent;
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);

my %sums;

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# For how long this process has run or waited for a CPU.
sub cpu {
    open my $stat, '<', '/proc/self/schedstat' or die;
    my (undef, $queued) = split ' ', <$stat>;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID) + $queued / 1e9;
}

sub clear { %sums = () }

sub note {
    my ($what, $length) = @_;
    $sums{$what} += $length;
}

sub compute {
    my ($length) = @_;
    my ($begin, $sum) = (now(), 0);
    while (now() < $begin + $length) {
        $sum = ($sum * 31 + $_) % 65537 for 1 .. 1000;
    }
    note('running', now() - $begin);
}

sub nap {
    my ($length) = @_;
    my ($cpu, $begin) = (cpu(), now());
    Time::HiRes::sleep($length);
    my $end = now();
    $cpu = cpu() - $cpu;
    note('running', $cpu);
    note('sleep', $end - $begin - $cpu);
}

sub tell {
    my ($party) = @_;
    printf STDERR "truth %s %s %d\n", $party, $_, $sums{$_} * 1e6 for sort keys %sums;
}

1;
