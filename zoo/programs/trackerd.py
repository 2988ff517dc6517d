# A tracker: it takes in where the vehicles of a fleet are, a datagram each, and answers each with the depot it is closest to.
# usage: PROGRAM PORT
import json
import socket
import sys

depots = [(48 + n % 7 / 10, 11 + n % 9 / 10) for n in range(50)]
places = {}


def closest(lat, lon):
    return min(range(len(depots)), key=lambda n: (depots[n][0] - lat) ** 2 + (depots[n][1] - lon) ** 2)


def take(report, sender, line):
    report = json.loads(report)
    places[report["vehicle"]] = report["lat"], report["lon"]
    line.sendto(json.dumps({"seen": report["number"], "depot": closest(*places[report["vehicle"]])}).encode(), sender)


line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    take(*line.recvfrom(2048), line)
