"""A worker that takes tasks from a list in Redis, of which few come; and whoever puts them there.
usage: PROGRAM PORT worker|source"""
import hashlib
import sys
import time

import redis

store = redis.Redis("127.0.0.1", int(sys.argv[1]))
while True:
    if sys.argv[2] == "source":
        store.rpush("tasks", "resize 1207")
        time.sleep(0.1)
    else:
        task = store.blpop("tasks", timeout=5)
        if task:
            hashlib.pbkdf2_hmac("sha256", task[1], b"", 5000)
