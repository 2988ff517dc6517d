#!/usr/bin/python3
# A price server on TCP that computes and rests for every answer. Prints its port; ends with its client.
import socket

from spent import compute, nap, tell

COMPUTES, RESTS = 45000, 30000

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
client, _ = listener.accept()
while question := client.recv(64):
    compute(COMPUTES)
    nap(RESTS)
    client.sendall(b"12.50")
tell("prices")
