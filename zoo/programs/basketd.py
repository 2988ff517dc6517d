# A shop's baskets, kept in Redis: one small request after another; when the store is away it tries again a little later.
# usage: PROGRAM PORT [HOST]
import socket
import sys
import time

address = (sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", int(sys.argv[1]))


def request(store, *words):
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    store.sendall(f"*{len(words)}\r\n{parts}".encode())
    answer = store.recv(4096)
    if not answer:
        raise ConnectionError
    return answer


turn = 0
while True:
    try:
        with socket.create_connection(address) as store:
            store.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                turn += 1
                basket = f"basket:{turn % 500}"
                request(store, "SET", basket, "bread " * 8)
                request(store, "GET", basket)
                request(store, "EXPIRE", basket, "600")
                time.sleep(0.002)
    except OSError:
        time.sleep(0.05)
