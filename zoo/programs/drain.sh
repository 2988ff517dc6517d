#!/bin/sh
# A node is drained: its idle cache instances are stopped for good, one a second, the hard way.
# usage: PROGRAM FIRST_PORT COMMAND…
port=$1
shift
pids=
for number in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
	"$@" -p $((port + number)) &
	pids="$pids $!"
done
sleep 1
for pid in $pids; do
	kill -KILL "$pid"
	sleep 1
done
exec sleep 1000
