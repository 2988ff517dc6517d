# A page renderer that hands each picture to a helper process through a pipe and waits for the answer.
# Models a parent that is slow because the worker it started is.
# usage: PROGRAM HELPER
import subprocess
import sys

helper = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
page = bytes(256)
while True:
    helper.stdin.write(page)
    helper.stdin.flush()
    answer = helper.stdout.read(256)
    if len(answer) != 256:
        sys.exit(1)
    html = "".join(f"<td>{value:02x}</td>" for value in answer)
