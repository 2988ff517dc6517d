"""A page of wishes: asks the store for each of its sixty items by itself, which of the shops have it."""
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ITEMS, SHOPS = 60, 1500
local = threading.local()


def ask(*words):
    if not hasattr(local, "store"):
        local.store = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        local.answers = local.store.makefile("rb")
    parts = [str(word).encode() for word in words]
    question = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    local.store.sendall(question)
    return local.answers.readline()


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        page = b"".join(ask("SINTERSTORE", f"near:{item}", "open", f"item:{item}") for item in range(ITEMS))
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


for item in range(ITEMS):
    ask("SADD", f"item:{item}", *range(item, item + SHOPS))
ask("SADD", "open", *range(0, SHOPS * 2, 7))
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
