# Makes a PostgreSQL database with the tables of pgbench, to be run as the user postgres.
# usage: PROGRAM FOLDER PORT SCALE
set -e
PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH
initdb -D "$1" -A trust --no-sync >"$1.log"
cat >>"$1/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = $2
END
pg_ctl -D "$1" -l "$1/server.log" -w start >>"$1.log"
pgbench -h 127.0.0.1 -p "$2" -i -q -s "$3" postgres 2>>"$1.log"
pg_ctl -D "$1" -w stop >>"$1.log"
