# A till on SQLite with its safe defaults: one transaction a sale, each made durable before the next.
# Models a program that waits for its own commits, through a library.
# usage: PROGRAM FILE
import sqlite3
import sys

shop = sqlite3.connect(sys.argv[1], isolation_level=None)
shop.execute("create table if not exists sales (id integer primary key, item text, amount integer)")
sale = 0
while True:
    sale += 1
    shop.execute("insert or replace into sales values (?, ?, ?)", (sale % 5000, f"item {sale % 97}", sale * 7 % 1000))
