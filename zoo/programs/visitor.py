"""Looks at the board of memcached, on a new connection each time.
usage: PROGRAM PORT"""
import socket
import sys
import time

while True:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.sendall(b"get board\r\n")
        connection.recv(100)
    time.sleep(0.02)
