#!/bin/sh
# Starts a command again whenever it ends.
# Models the supervisor of a program that dies at once.
# usage: PROGRAM COMMAND...
while :; do
  "$@" >/dev/null 2>&1
  sleep 0.1
done
