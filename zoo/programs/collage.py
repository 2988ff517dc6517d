# Puts a collage together on a fresh canvas for every order and lets the canvas go afterwards.
# Models minor faults in a program that asks for large new memory all the time.
# usage: PROGRAM
import os

STEP = 4096


def compose(order):
    canvas = bytearray(48 << 20)
    canvas[::STEP] = bytes([order % 255 + 1]) * (len(canvas) // STEP)
    return canvas[len(canvas) // 2]


order = os.getpid()
while True:
    order += compose(order)
