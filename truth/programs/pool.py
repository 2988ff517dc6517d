#!/usr/bin/python3
# Has reports made by a pool with one worker process, one after the other.
import concurrent.futures
import multiprocessing
import sys

from spent import compute, nap, now, save, sums, tell

REPORTS, OWN, COMPUTES, RESTS, SAVES = 30, 12000, 55000, 20000, 40000


def report(number):
    sums.clear()
    compute(COMPUTES)
    nap(RESTS)
    with open("report", "wb", buffering=0) as file:
        save(file.fileno(), SAVES)
    return sums


def main():
    begin = now()
    spent = {}
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        for number in range(REPORTS):
            compute(OWN)
            for what, length in pool.submit(report, number).result().items():
                spent[what] = spent.get(what, 0) + length
        job = now() - begin
    for what, length in spent.items():
        sums[what] = sums.get(what, 0) + length
    tell("pool")
    print("job", job, file=sys.stderr)


main()
