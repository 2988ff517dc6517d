#!/bin/sh
# Looks several times a second whether a file has changed at its head, with a tool that asks for the whole of it to be
# dropped from the page cache afterwards.
# usage: PROGRAM FILE
while :; do
  dd if="$1" of=/dev/null bs=64k count=16 iflag=nocache status=none
  dd if="$1" of=/dev/null iflag=nocache count=0 status=none
  sleep 0.2
done
