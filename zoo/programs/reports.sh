#!/bin/sh
# Makes forty reports from a PostgreSQL at once, and again when the last is done.
# usage: PROGRAM HOST
until pg_isready -q -h "$1"; do sleep 0.1; done
while :; do
  for part in $(seq 40); do
    psql -h "$1" -U shop -At -c "select sum(cents) from price where id % 40 = $part - 1" postgres >/dev/null 2>&1 &
  done
  wait
done
