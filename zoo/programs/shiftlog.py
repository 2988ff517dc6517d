# A shop's till that keeps its sales with SQLite and tries a sale again until it is stored.
# Models a database on a file system without space.
# usage: PROGRAM FILE
import itertools
import sqlite3
import sys
import time

shop = sqlite3.connect(sys.argv[1], isolation_level=None)
shop.execute("PRAGMA journal_mode = MEMORY")
shop.execute("PRAGMA synchronous = OFF")
shop.execute("CREATE TABLE IF NOT EXISTS sale (id INTEGER PRIMARY KEY, receipt TEXT)")
for number in itertools.count():
    while True:
        try:
            shop.execute("INSERT INTO sale (receipt) VALUES (?)", (f"{number} " * 1000,))
            break
        except sqlite3.OperationalError:
            time.sleep(0.004)
