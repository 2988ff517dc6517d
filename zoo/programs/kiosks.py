#!/usr/bin/python3
"""Picture frames that keep their connection to the photo store while they are dark. Usage: kiosks.py PORT COUNT"""
import socket
import sys
import time

frames = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
while frames:
    time.sleep(60)
