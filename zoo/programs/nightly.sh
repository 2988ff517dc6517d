#!/bin/sh
# A nightly clean-up script that starts commands for what the shell could do itself, for every single item.
# Models fork and exec of short-lived processes.
# usage: PROGRAM
item=0
while :; do
  item=$(expr "$item" + 1)
  name=$(basename "/srv/export/part-$item.csv" .csv)
  day=$(date +%d)
  printf '%s %s\n' "$name" "$day" | cut -d ' ' -f 1 >/dev/null
done
