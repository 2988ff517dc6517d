"""Browsers that fetch a page, and keep their connections for the next.
usage: PROGRAM PORT CONNECTIONS"""
import http.client
import sys
import time

open_ones = []
for _ in range(int(sys.argv[2])):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", "/")
    connection.getresponse().read()
    open_ones.append(connection)
while True:
    time.sleep(40)
    for connection in open_ones:
        connection.request("GET", "/")
        connection.getresponse().read()
