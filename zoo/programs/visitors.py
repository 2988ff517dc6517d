# Visitors of a service: each connects, says a line from time to time and stays.
# usage: PROGRAM PORT VISITORS [REQUEST]
import select
import socket
import sys
import time

port, count = int(sys.argv[1]), int(sys.argv[2])
request = sys.argv[3].encode().decode("unicode_escape").encode() if len(sys.argv) > 3 else b"hello\n"
visitors = []
for _ in range(count):
    visitor = socket.socket()
    visitor.connect(("127.0.0.1", port))
    visitor.setblocking(False)
    visitors.append(visitor)
while True:
    for visitor in visitors:
        try:
            visitor.send(request)
        except OSError:
            pass
    time.sleep(0.05)
    for visitor in select.select(visitors, [], [], 0)[0]:
        try:
            visitor.recv(65536)
        except OSError:
            pass
