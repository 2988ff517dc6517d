# A memory exporter that reads every detail of a process's mappings over and over.
# usage: PROGRAM NAME
import os
import sys


def find(name):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as comm:
                if comm.read().strip() == name:
                    return pid
        except OSError:
            pass
    sys.exit(f"no {name}")


def resident(pid):
    with open(f"/proc/{pid}/smaps") as smaps:
        return sum(int(line.split()[1]) for line in smaps if line.startswith("Rss:"))


pid = find(sys.argv[1])
while True:
    resident(pid)
