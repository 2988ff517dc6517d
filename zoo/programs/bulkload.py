"""A nightly import of articles into SQLite: durability is switched off for it, since it can be done over.

usage: PROGRAM DATABASE
"""
import sqlite3
import sys


def load(connection, batch):
    """One delivery note's worth of articles, in a transaction of its own."""
    with connection:
        connection.executemany(
            "insert or replace into article values (?, ?, ?)",
            ((n % 20000, f"article {n}", n * 7 % 1000) for n in range(batch * 50, batch * 50 + 50)),
        )


def main():
    connection = sqlite3.connect(sys.argv[1])
    connection.execute("pragma synchronous = off")
    connection.execute("create table if not exists article (id integer primary key, name text, price integer)")
    batch = 0
    while True:
        load(connection, batch)
        batch += 1


if __name__ == "__main__":
    main()
