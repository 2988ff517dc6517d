# An inbox: one thread for all connections, each kept open for as long as the sender likes; what comes is answered.
# usage: PROGRAM PORT
import selectors
import socket
import sys

inbox = selectors.DefaultSelector()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
listener.setblocking(False)
inbox.register(listener, selectors.EVENT_READ)
refused = 0
while True:
    for key, _ in inbox.select():
        if key.fileobj is listener:
            try:
                sender, _ = listener.accept()
                inbox.register(sender, selectors.EVENT_READ)
            except OSError:
                refused += 1
            continue
        letter = key.fileobj.recv(4096)
        if letter:
            key.fileobj.sendall(b"taken\n")
        else:
            inbox.unregister(key.fileobj)
            key.fileobj.close()
