#!/bin/sh
# Packs yesterday's log again and again and waits for the packer each time.
# Models a parent that waits for a busy child.
# usage: PROGRAM FILE
while :; do
  gzip -9 <"$1" >/dev/null
done
