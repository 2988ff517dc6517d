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


# For how long this thread has run or waited for a CPU.
def cpu():
    with open("/proc/thread-self/schedstat", "rb", buffering=0) as stat:
        queued = stat.read(96).split()[1]
    return (time.thread_time_ns() + int(queued)) // 1000


def nap(length):
    ran, begin = cpu(), now()
    time.sleep(length / 1e6)
    end = now()
    ran = cpu() - ran
    note("running", ran)
    note("sleep", end - begin - ran)


# Makes records durable, one after the other, for so long.
def save(file, length):
    ran, begin = cpu(), now()
    while now() < begin + length:
        os.write(file, bytes(16384))
        os.fsync(file)
    end = now()
    ran = cpu() - ran
    note("running", ran)
    note("disk", end - begin - ran)


def tell(party):
    for what, length in sums.items():
        print("truth", party, what, length, file=sys.stderr, flush=True)
