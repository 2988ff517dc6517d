# Reads brochures from memcached over UDP: a large value comes as many datagrams; when some are missing after a while it
# asks again.
# Models datagrams dropped for want of room in a socket's buffer.
# usage: PROGRAM PORT
import socket
import struct
import sys

address = ("127.0.0.1", int(sys.argv[1]))
with socket.create_connection(address) as store:
    for number in range(50):
        size = 20000 + number * 1000
        store.sendall(f"set brochure:{number} 0 0 {size}\r\n".encode() + b"b" * size + b"\r\n")
        if not store.recv(64).startswith(b"STORED"):
            sys.exit(1)

line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
line.connect(address)
line.settimeout(0.1)
turn = 0


def read(brochure, patience):
    global turn
    for _ in range(patience):
        turn = (turn + 1) % 65536
        line.send(struct.pack("!HHHH", turn, 0, 1, 0) + f"get brochure:{brochure}\r\n".encode())
        pieces, total = {}, 1
        try:
            while len(pieces) < total:
                piece = line.recv(2048)
                number, at, total, _ = struct.unpack("!HHHH", piece[:8])
                if number == turn:
                    pieces[at] = piece[8:]
            return b"".join(pieces[at] for at in range(total))
        except TimeoutError:
            continue
    return None


brochures = 0
while True:
    brochures += read(turn * 7919 % 50, 5) is not None
