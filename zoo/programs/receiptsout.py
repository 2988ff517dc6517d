"""Sends each receipt on a connection of its own to a Redis.
usage: PROGRAM HOST PORT"""
import socket
import sys
import time

while True:
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
        connection.sendall(b"INCR receipts\r\n")
        connection.recv(64)
    time.sleep(0.005)
