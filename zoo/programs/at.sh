#!/bin/sh
# Runs a command at one end of the tunnel between two sites, as soon as that is there.
# usage: PROGRAM PID_FILE END COMMAND...   (the end is 100 or 101)
until [ -s "$1" ]; do sleep 0.05; done
space=/proc/$(cat "$1")/fd/$2
shift 2
exec nsenter --net="$space" "$@"
