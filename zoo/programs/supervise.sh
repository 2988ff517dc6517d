#!/bin/sh
# Starts a command and, whenever it has ended, starts it anew a moment later.
# usage: PROGRAM COMMAND [ARGS]
while :; do
  "$@"
  sleep 0.1
done
