"""Lets people in by their badge, and tells the system's log of each.
usage: PROGRAM PORT LOG_SOCKET"""
import logging
import logging.handlers
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

journal = logging.getLogger("entry")
journal.setLevel(logging.INFO)
journal.addHandler(logging.handlers.SysLogHandler(sys.argv[2]))


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        journal.info("badge %s from %s", self.path, self.client_address[0])
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"open")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Door).serve_forever()
