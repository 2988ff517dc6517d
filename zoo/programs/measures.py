# Collects measurements: asks a meter for its readings of the day, which come as many datagrams at once; when some are
# missing after a while it asks for all of them again.
# Models datagrams dropped for want of room in a socket's buffer.
# usage: PROGRAM meter PORT | PROGRAM collect PORT
import socket
import sys
import time

address = ("127.0.0.1", int(sys.argv[2]))
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == "meter":
    line.bind(address)
    while True:
        _, asker = line.recvfrom(64)
        for hour in range(144):
            line.sendto(b"%04d " % hour + b"21.5 " * 200, asker)

line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
line.connect(address)
line.settimeout(0.1)
days = 0
while True:
    readings, tries = {}, 0
    while len(readings) < 144:
        try:
            line.send(b"readings of the day")
            while len(readings) < 144:
                reading = line.recv(2048)
                readings[int(reading[:4])] = sum(float(value) for value in reading[5:].split())
        except ConnectionRefusedError:
            time.sleep(0.1)
        except TimeoutError:
            tries += 1
    days += 1
