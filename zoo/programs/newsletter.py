# Collects a newsletter's addresses and leaves out those that it has already, which it looks for in a list; after sixty
# thousand the next letter begins.
# Models a cost per item that grows with the number of items.
# usage: PROGRAM
number = 0


def is_known(address, known):
    return address in known


def collect():
    global number
    known = []
    while len(known) < 60000:
        number += 1
        address = f"reader-{number * 7919 % 1000003}@example.org"
        if not is_known(address, known):
            known.append(address)
    return known


while True:
    collect()
