# Senders of letters: each connects, sends letters with a pause after each, leaves after a while and comes again.
# usage: PROGRAM PORT COUNT
import socket
import sys
import threading
import time


def sender(number):
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as inbox:
                for _ in range(20 + number % 7):
                    inbox.sendall(b"letter " * 20)
                    if not inbox.recv(64):
                        break
                    time.sleep(0.05)
        except OSError:
            time.sleep(0.1)


for number in range(int(sys.argv[2])):
    threading.Thread(target=sender, args=(number,), daemon=True).start()
threading.Event().wait()
