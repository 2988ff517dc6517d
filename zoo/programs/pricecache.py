# Keeps prices in memcached; each is sent as a line with its length and then the price itself, as the protocol shows them.
# Models small writes held back until the other end's delayed acknowledgement.
# usage: PROGRAM PORT
import socket
import sys

store = socket.create_connection(("127.0.0.1", int(sys.argv[1])))


def keep(item, text):
    store.sendall(f"set price:{item} 0 0 {len(text)}\r\n".encode())
    store.sendall(text + b"\r\n")
    if not store.recv(64).startswith(b"STORED"):
        sys.exit(1)


turn = 0
while True:
    turn += 1
    keep(turn % 2000, f"{turn * 7919 % 10000 / 100:.2f} EUR".encode())
