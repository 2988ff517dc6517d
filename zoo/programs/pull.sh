#!/bin/sh
# Keeps a branch's copy of the photos up to date. Usage: pull.sh PORT FOLDER
while :; do
  rsync -rt --quiet "rsync://127.0.0.1:$1/photos/" "$2/"
  sleep 0.5
done
