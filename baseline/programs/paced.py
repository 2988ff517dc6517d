"""Sends a line so many times a second, whatever the answers take, and reads a line for each: PORT RATE LINE."""

import socket
import sys
import time

port, rate, line = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].encode() + b"\r\n"
to = socket.create_connection(("127.0.0.1", port))
to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
answers = to.makefile("rb")
at = time.monotonic()
while True:
    to.sendall(line)
    if not answers.readline():
        sys.exit("no answer")
    at += 1 / rate
    time.sleep(max(0, at - time.monotonic()))
