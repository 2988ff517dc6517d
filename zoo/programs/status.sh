#!/bin/sh
# A status page made by a shell script that starts a command for every line of it.
# Models fork and exec of short-lived processes on behalf of a web server.
# usage: PROGRAM   (as a CGI program)
printf 'Content-Type: text/plain\r\n\r\n'
echo "day: $(date +%F)"
echo "up: $(cut -d ' ' -f 1 /proc/uptime)"
echo "load: $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo "memory: $(grep MemFree /proc/meminfo | tr -s ' ' | cut -d ' ' -f 2)"
echo "kernel: $(uname -r)"
