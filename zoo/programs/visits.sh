#!/bin/sh
# Visitors of a shop, each from an address of its own and each visit over a connection of its own. Usage: visits.sh URL
for visitor in 21 22 23 24 25 26; do
  (while :; do curl -s -o page.$visitor --interface 10.20.0.$visitor "$1"; sleep 0.2; done) &
  sleep 0.7
done
wait
