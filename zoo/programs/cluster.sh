#!/bin/sh
# Makes a PostgreSQL cluster that listens on a port of the loopback address only, and runs SQL from standard input in it.
# usage: PROGRAM FOLDER PORT [SETTING=VALUE...]
set -e
folder=$1 port=$2
shift 2
bin=$(echo /usr/lib/postgresql/*/bin | tr ' ' '\n' | tail -n 1)
install -d -o postgres -g postgres -m 700 "$folder"
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
as "$bin/initdb" -D "$folder" -U shop -A trust --no-sync -E UTF8 --locale=C >/dev/null
{
  echo "port = $port"
  echo "listen_addresses = '127.0.0.1'"
  echo "unix_socket_directories = ''"
  echo "fsync = off"
  echo "autovacuum = off"
  for setting; do echo "$setting"; done
} >>"$folder/postgresql.conf"
echo "host all all 10.0.0.0/8 trust" >>"$folder/pg_hba.conf"
as "$bin/postgres" --single -D "$folder" -j postgres </dev/stdin >/dev/null 2>&1
ln -s "$bin/postgres" "$(dirname "$0")/postgres"
