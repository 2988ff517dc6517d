#!/usr/bin/python3
# A catalog on TCP that asks another server for the price of everything. Prints its port; ends with its client.
# usage: PROGRAM PRICES
import socket
import subprocess
import sys

from spent import compute, tell

OWN = 12000

prices = subprocess.Popen([sys.argv[1]], stdout=subprocess.PIPE)
line = socket.create_connection(("127.0.0.1", int(prices.stdout.readline())))
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
client, _ = listener.accept()
while question := client.recv(64):
    compute(OWN)
    line.sendall(question)
    client.sendall(line.recv(64))
tell("catalog")
line.close()
prices.wait()
