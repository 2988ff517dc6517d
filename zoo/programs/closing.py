#!/usr/bin/python3
"""Closes the books every so often: adds up what was sold of each item, and keeps the sums. Usage: closing.py BOOKS"""
import sqlite3
import sys
import time

books = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
books.execute("pragma synchronous = normal")
while True:
    books.execute("begin immediate")
    sums = {}
    for item, price in books.execute("select item, price from sale order by id limit 500000"):
        sums[item] = sums.get(item, 0) + price
    books.executemany("insert or replace into total values (?, ?)", sums.items())
    books.execute("commit")
    time.sleep(0.1)
