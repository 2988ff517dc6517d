#!/usr/bin/perl
# Draws pages whose every fragment may be replaced by any of many themes, and looks through the folders of all of them for
# each fragment. Models calls that fail, in a scripting language.
# usage: PROGRAM FOLDER
use strict;
use warnings;

my ($folder) = @ARGV;
my @themes = map { "$folder/themes/season-$_/fragments" } 1 .. 60;
my @fragments = map { "block-$_.html" } 1 .. 40;
my $found = 0;
while (1) {
    for my $fragment (@fragments) {
        for my $theme (@themes) {
            next unless -e "$theme/$fragment";
            $found++;
            last;
        }
    }
}
