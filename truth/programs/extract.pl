#!/usr/bin/perl
# Writes orders to stdout as fast as they are read.
use strict;
use warnings;

print 'order ', $_, ' ' x 2000, "\n" for 1 .. 40;
