# A waiting list in Redis: before anybody is put on the list it is asked whether they are on it already, which goes through
# all of it; at forty thousand people the doors open and the list begins anew.
# Models a cost per request that grows with the number of items.
# usage: PROGRAM PORT
import socket
import sys

store = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
store.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def request(*words):
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    store.sendall(f"*{len(words)}\r\n{parts}".encode())
    answer = store.recv(4096)
    if not answer:
        sys.exit(1)
    return answer


number = 0
while True:
    request("DEL", "waiting")
    for _ in range(40000):
        number += 1
        person = f"person-{number}"
        if request("LPOS", "waiting", person) == b"$-1\r\n":
            request("RPUSH", "waiting", person)
