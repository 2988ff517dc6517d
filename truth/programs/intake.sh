#!/bin/sh
# Takes in the day's orders: a chain of three, of which the middle one is slow.
# usage: PROGRAM EXTRACT CONVERT DIGEST
begin=$(date +%s%N)
"$1" | "$2" | "$3"
echo "job $((($(date +%s%N) - begin) / 1000))" >&2
