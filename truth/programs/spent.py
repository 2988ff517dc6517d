# What a thread spent its time on, by CLOCK_MONOTONIC in microseconds.
import os
import sys
import time

sums = {}


def now():
    return time.monotonic_ns() // 1000


def note(what, length):
    sums[what] = sums.get(what, 0) + length


def compute(length):
    begin = now()
    while now() < begin + length:
        sum(value * value for value in range(400))
    note("running", now() - begin)


def nap(length):
    begin = now()
    time.sleep(length / 1e6)
    note("sleep", now() - begin)


# One record made durable; the part in which the thread runs is its own.
def save(file):
    begin, cpu = now(), time.thread_time_ns()
    os.write(file, bytes(16384))
    os.fsync(file)
    ran = (time.thread_time_ns() - cpu) // 1000
    note("running", ran)
    note("disk", now() - begin - ran)


def tell(party):
    for what, length in sums.items():
        print("truth", party, what, length, file=sys.stderr, flush=True)
