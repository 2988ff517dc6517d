# Reads one tile after another, anywhere in a volume, and looks at what it holds.
# usage: tiles.py VOLUME
import os, random, sys, zlib

TILE = 32768

volume = os.open(sys.argv[1], os.O_RDONLY)
tiles = os.lseek(volume, 0, os.SEEK_END) // TILE
place = random.Random(7)
os.posix_fadvise(volume, 0, 0, os.POSIX_FADV_RANDOM)
seen = 0
while True:
    at = place.randrange(tiles) * TILE
    seen = zlib.crc32(os.pread(volume, TILE, at), seen)
    os.posix_fadvise(volume, at, TILE, os.POSIX_FADV_DONTNEED)
