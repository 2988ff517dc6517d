"""A catalogue over HTTP, one thread a connection: searches, sorts and formats, with a lock around what is shared."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARTICLES = [{"id": n, "name": f"article {n}", "price": n * 7919 % 1000} for n in range(200)]
SEEN = {}
LOCK = threading.Lock()


def search(words):
    pattern = re.compile("|".join(map(re.escape, words)))
    return [article for article in ARTICLES if pattern.search(article["name"])]


def remember(count):
    with LOCK:
        SEEN[count] = SEEN.get(count, 0) + 1
        return sum(SEEN.values())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = sorted(search(["1", "7"]), key=lambda article: (article["price"], article["name"]))
        body = json.dumps({"count": remember(len(found)), "found": found}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
