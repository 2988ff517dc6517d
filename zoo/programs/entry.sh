#!/bin/sh
# Appends an entry to a ledger under the ledger's lock, over and over; the ledger keeps its last entries only.
# Models a job that waits for a file lock which another job holds too long.
# usage: PROGRAM LEDGER
number=0
exec 9>"$1.lock"
while :; do
  number=$((number + 1))
  flock 9
  if [ $((number % 200)) = 1 ]; then echo "$number;bread;2.40" >"$1"; else echo "$number;bread;2.40" >>"$1"; fi
  flock -u 9
  sleep 0.01
done
