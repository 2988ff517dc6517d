# A web site's page fragments in memcached: a few hundred small requests a second on one connection. Healthy.
# usage: PROGRAM PORT
import socket
import sys
import time

cache = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
answers = cache.makefile("rb")
turn = 0
while True:
    turn += 1
    key, body = f"fragment:{turn % 500}", b"<li>offer</li>" * 40
    cache.sendall(f"set {key} 0 600 {len(body)}\r\n".encode() + body + b"\r\n")
    if answers.readline() != b"STORED\r\n":
        sys.exit(1)
    cache.sendall(f"get {key}\r\n".encode())
    while answers.readline() not in (b"END\r\n", b""):
        pass
    time.sleep(0.006)
