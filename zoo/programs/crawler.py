# A crawler that starts a helper for every page and keeps those going; when one more cannot be started it tries again.
# Models a limit on the number of tasks.
# usage: PROGRAM
import os
import signal
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
page = 0


def fetch(number):
    time.sleep(0.5 + number % 7 / 10)
    os._exit(0)


def start_helper(number):
    while True:
        try:
            if os.fork() == 0:
                fetch(number)
            return
        except BlockingIOError:
            time.sleep(0.005)


while True:
    page += 1
    start_helper(page)
