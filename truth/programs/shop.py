#!/usr/bin/python3
# A web shop that asks a catalog over TCP for each page; the catalog asks a third process. Starts both.
# usage: PROGRAM CATALOG PRICES
import socket
import subprocess
import sys

from spent import compute, now, tell

PAGES, OWN = 40, 8000

catalog = subprocess.Popen([sys.argv[1], sys.argv[2]], stdout=subprocess.PIPE)
port = int(catalog.stdout.readline())
begin = now()
line = socket.create_connection(("127.0.0.1", port))
for page in range(PAGES):
    compute(OWN)
    line.sendall(b"page %4d" % page)
    if not line.recv(64):
        sys.exit(1)
tell("shop")
print("job", now() - begin, file=sys.stderr)
line.close()
catalog.wait()
