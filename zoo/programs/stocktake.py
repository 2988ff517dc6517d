# A stocktaking terminal: one statement of SQL at a time, some twenty a second, through MariaDB's own client.
# usage: PROGRAM CLIENT WORD…
import subprocess
import sys
import time

terminal = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
terminal.stdin.write("CREATE DATABASE depot; USE depot; CREATE TABLE stock (item INT PRIMARY KEY, pieces INT);\n")
terminal.stdin.write("INSERT INTO stock SELECT seq, seq % 90 FROM seq_1_to_5000;\n")
turn = 0
while terminal.poll() is None:
    turn += 1
    terminal.stdin.write(f"SELECT SUM(pieces) FROM stock WHERE item BETWEEN {turn % 4000} AND {turn % 4000 + 200};\n")
    terminal.stdin.flush()
    time.sleep(0.05)
