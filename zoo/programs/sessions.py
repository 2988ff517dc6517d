# A web shop's session traffic to Redis: a few hundred small requests a second on one connection. Healthy.
# usage: PROGRAM PORT
import socket
import sys
import time

store = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
turn = 0
while True:
    turn += 1
    key = f"session:{turn % 1000}"
    for words in (("SET", key, "basket " * 10), ("GET", key), ("EXPIRE", key, "600")):
        parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        store.sendall(f"*{len(words)}\r\n{parts}".encode())
        if not store.recv(4096):
            sys.exit(1)
    time.sleep(0.008)
