# A report exporter that opens every part of a report and keeps it open until the report is done; a part that cannot be
# opened is tried again shortly after. Models running out of descriptors.
# usage: PROGRAM FOLDER
import errno
import os
import sys
import time

folder = sys.argv[1]


def open_part(number):
    while True:
        try:
            return os.open(os.path.join(folder, f"part-{number}.csv"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            time.sleep(0.003)


parts = []
for number in range(10_000):
    parts.append(open_part(number))
    os.write(parts[-1], b"row,price\n")
