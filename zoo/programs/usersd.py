# Shows who is logged in: it asks Redis for all session keys of a department and then for each session found.
# Models an application that waits for a store, which goes through everything for every question.
# usage: PROGRAM PORT
import socket
import sys

store = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
store.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
answers = store.makefile("rb")


def request(*words):
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    store.sendall(f"*{len(words)}\r\n{parts}".encode())
    return reply()


def reply():
    line = answers.readline()
    if not line:
        sys.exit(1)
    if line[:1] == b"*":
        return [reply() for _ in range(int(line[1:]))]
    if line[:1] == b"$":
        return answers.read(int(line[1:]) + 2)[:-2] if line[1:2] != b"-" else None
    return line[1:-2]


for user in range(150000):
    request("SET", f"session:{user % 4000}:{user}", "logged in")
while True:
    for department in range(4000):
        for key in request("KEYS", f"session:{department}:*")[:10]:
            request("GET", key.decode())
