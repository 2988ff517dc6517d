# Answers every request with a quote that takes it a while to work out.
# usage: PROGRAM PORT [ADDRESS]
import http.server
import sys


def quote():
    total = 0
    for item in range(250000):
        total = (total * 31 + item) % 1000003
    return total


class Visit(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(quote()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
http.server.HTTPServer((address, int(sys.argv[1])), Visit).serve_forever()
