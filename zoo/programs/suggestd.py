# A suggestion service: one thread a connection answers from memory, while another thread learns from yesterday's sales.
# Models threads that wait for the interpreter's lock, which a computing thread keeps.
# usage: PROGRAM PORT
import socketserver
import sys
import threading

weights = {item: 0 for item in range(5000)}


def learn():
    while True:
        for item in weights:
            weights[item] = (weights[item] * 31 + item) % 65521


class Visit(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line.strip():
                return
            while self.rfile.readline().strip():
                pass
            body = str(weights[len(line) * 37 % 5000]).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


threading.Thread(target=learn, name="learn", daemon=True).start()
Server(("127.0.0.1", int(sys.argv[1])), Visit).serve_forever()
