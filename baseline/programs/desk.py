"""Answers a line with a line after some work. STEPS stands for how much."""

import socketserver
import sys


class Desk(socketserver.StreamRequestHandler):
    def handle(self):
        for _ in self.rfile:
            total = sum(i * i for i in range(STEPS))
            self.wfile.write(b"%d\n" % total)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Desk).serve_forever()
