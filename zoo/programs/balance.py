# Works out the balance of a ledger under the ledger's lock, so that nothing changes meanwhile.
# usage: PROGRAM LEDGER
import fcntl
import sys
import time

total = 0
with open(sys.argv[1] + ".lock", "w") as lock:
    while True:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            for amount in range(5000):
                total = (total * 31 + amount) % 1000003
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(0.02)
