"""Asks a Redis for one price after another, over a connection that it keeps.
usage: PROGRAM HOST PORT"""
import sys
import time

import redis

store = redis.Redis(sys.argv[1], int(sys.argv[2]))
while True:
    for item in range(1000):
        store.get(f"price:{item}")
        time.sleep(0.01)
