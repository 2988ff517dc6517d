# A news spool: every article is a small file of its own, and where one cannot be made it tries again shortly after.
# Models a file system that has space but no inodes left.
# usage: PROGRAM FOLDER
import errno
import itertools
import os
import sys
import time


def store(path, article):
    while True:
        try:
            with open(path, "wb") as file:
                file.write(article)
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            time.sleep(0.004)


for number in itertools.count():
    store(os.path.join(sys.argv[1], f"{number}.msg"), b"article " * 20)
