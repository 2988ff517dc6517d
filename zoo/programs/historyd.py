"""A customer's orders: asks PostgreSQL for them, with one connection a thread, in the database's own protocol (version 3)."""
import random
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

local = threading.local()


def message(stream):
    kind, length = struct.unpack("!cI", stream.read(5))
    return kind, stream.read(length - 4)


def until_ready(stream):
    rows = []
    while True:
        kind, body = message(stream)
        if kind == b"E":
            sys.exit(body.decode(errors="replace"))
        if kind == b"D":
            rows.append(body[6:])
        if kind == b"Z":
            return rows


def ask(query):
    if not hasattr(local, "socket"):
        local.socket = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        local.stream = local.socket.makefile("rb")
        words = b"user\0shop\0database\0postgres\0\0"
        local.socket.sendall(struct.pack("!II", len(words) + 8, 196608) + words)
        until_ready(local.stream)
    text = query.encode() + b"\0"
    local.socket.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
    return until_ready(local.stream)


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        customer = random.randrange(5000)
        page = b"\n".join(ask(f"select count(*), max(note) from orders where customer = {customer}"))
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
