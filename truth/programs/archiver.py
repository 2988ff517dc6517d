#!/usr/bin/python3
# Packs documents: a thread that compresses and one that keeps to the rate of a slow archive, with queues between.
import queue
import sys
import threading
import zlib

from spent import compute, nap, note, now, tell

DOCUMENTS, OWN, PACK, REST = 30, 10000, 70000, 45000

to_pack, to_ship, done = queue.Queue(), queue.Queue(), queue.Queue()
text = bytes(value * value % 251 for value in range(200000))


def pack():
    while to_pack.get():
        begin = now()
        while now() < begin + PACK:
            zlib.compress(text, 6)
        note("running", now() - begin)
        done.put(True)


def ship():
    while to_ship.get():
        nap(REST)
        done.put(True)


begin = now()
for work in pack, ship:
    threading.Thread(target=work).start()
for _ in range(DOCUMENTS):
    compute(OWN)
    to_pack.put(True)
    done.get()
    to_ship.put(True)
    done.get()
to_pack.put(None)
to_ship.put(None)
tell("archiver")
print("job", now() - begin, file=sys.stderr)
