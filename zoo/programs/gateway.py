# The way to a machine elsewhere, as one end of a tunnel in a network namespace of this process's own (file descriptor 100,
# 10.78.0.1); the machine (10.78.0.2) acknowledges what it gets at once, but its web service on port 80 takes its time with
# each answer.
# Models a peer that is slow while the network is not.
# usage: PROGRAM ANSWER_MILLISECONDS PID_FILE
import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time

pause = float(sys.argv[1]) / 1000
if ctypes.CDLL(None).unshare(0x40000000):
    sys.exit("unshare")
os.dup2(os.open("/proc/self/ns/net", os.O_RDONLY), 100)
tunnel = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"site0", 0x1001))
for line in ("addr add 10.78.0.1/24 dev site0", "link set site0 up", "link set lo up"):
    subprocess.run(["ip", *line.split()], check=True)
with open(sys.argv[2], "w") as file:
    print(os.getpid(), file=file)

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
BODY = b'{"stock": 7}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Connection:
    """The far machine's end of one connection."""

    def __init__(self, ends):
        self.ends, self.sent, self.expected, self.text = ends, 1000, 0, b""

    def send(self, flags, data=b"", options=b""):
        (peer, peer_port), (own, own_port) = self.ends
        head = struct.pack("!HHIIBBHHH", own_port, peer_port, self.sent, self.expected, (20 + len(options)) // 4 << 4, flags, 64000, 0, 0)
        segment = head + options + data
        pseudo = own + peer + struct.pack("!BBH", 0, 6, len(segment))
        segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
        ip = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0, own, peer)
        os.write(tunnel, ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + segment)
        self.sent = (self.sent + len(data) + bool(flags & (SYN | FIN))) & 0xFFFFFFFF


connections = {}
answers = []


def take(packet):
    if packet[0] >> 4 != 4 or packet[9] != 6:
        return
    segment = packet[(packet[0] & 15) * 4:]
    peer_port, own_port, sequence, _, offset, flags = struct.unpack("!HHIIBB", segment[:14])
    ends = (packet[12:16], peer_port), (packet[16:20], own_port)
    data = segment[offset >> 4 << 2:]
    if flags & SYN:
        connection = connections[ends] = Connection(ends)
        connection.expected = (sequence + 1) & 0xFFFFFFFF
        return connection.send(SYN | ACK, options=struct.pack("!BBH", 2, 4, 1400))
    connection = connections.get(ends)
    if connection is None:
        return
    if flags & RST:
        del connections[ends]
    elif sequence == connection.expected and (data or flags & FIN):
        connection.expected = (sequence + len(data) + bool(flags & FIN)) & 0xFFFFFFFF
        connection.text += data
        connection.send(ACK | (flags & FIN))
        if flags & FIN:
            del connections[ends]
        while b"\r\n\r\n" in connection.text:
            connection.text = connection.text.split(b"\r\n\r\n", 1)[1]
            heapq.heappush(answers, (time.monotonic() + pause, ends))


while True:
    wait = max(0, answers[0][0] - time.monotonic()) if answers else None
    if select.select([tunnel], [], [], wait)[0]:
        take(os.read(tunnel, 65536))
    while answers and answers[0][0] <= time.monotonic():
        ends = heapq.heappop(answers)[1]
        if ends in connections:
            connections[ends].send(PSH | ACK, ANSWER)
