# Asks a web server for one page again and again, with a pause in between.
# usage: PROGRAM ADDRESS PAUSE_SECONDS
import sys
import time
import urllib.request

while True:
    with urllib.request.urlopen(sys.argv[1]) as answer:
        answer.read()
    time.sleep(float(sys.argv[2]))
