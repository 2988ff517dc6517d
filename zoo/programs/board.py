"""Members of a chat, each on a connection to memcached that it keeps; a visitor comes later.
usage: PROGRAM PORT CONNECTIONS"""
import socket
import sys
import time

members = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
while True:
    for member in members:
        member.sendall(b"get board\r\n")
        member.recv(100)
    time.sleep(1)
