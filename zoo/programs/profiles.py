# Looks user profiles up in an LMDB environment in random order; its file does not stay in the page cache where another
# program asks for it to be dropped. Models page faults on a mapped database.
# usage: PROGRAM fill FILE | PROGRAM serve FILE
import random
import sys

import lmdb

USERS = 200_000


def key_of(user):
    return b"user:%08d" % user


def fill(path):
    with lmdb.open(path, subdir=False, map_size=2 << 30, sync=False) as store:
        with store.begin(write=True) as writing:
            for user in range(USERS):
                writing.put(key_of(user), b"%08d;" % user + b"profile " * 380, append=True)
        store.sync(True)


def serve(path):
    draw = random.Random(7)
    found = 0
    while True:
        # Opened for each batch, as by a worker that is started for it.
        with lmdb.open(path, subdir=False, map_size=2 << 30, readonly=True, lock=False, readahead=False) as store:
            with store.begin() as reading:
                for _ in range(2000):
                    found += len(reading.get(key_of(draw.randrange(USERS))))


if __name__ == "__main__":
    {"fill": fill, "serve": serve}[sys.argv[1]](sys.argv[2])
