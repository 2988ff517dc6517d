#!/usr/bin/python3
# A gallery on asyncio: has a helper process make each picture, and then keeps a pause.
# usage: PROGRAM HELPER
import asyncio
import sys

from spent import compute, note, now, tell

PICTURES, OWN, PAUSE = 16, 20000, 60000


async def main():
    for _ in range(PICTURES):
        compute(OWN)
        helper = await asyncio.create_subprocess_exec(sys.argv[1])
        await helper.wait()
        begin = now()
        await asyncio.sleep(PAUSE / 1e6)
        note("sleep", now() - begin)


begin = now()
asyncio.run(main())
tell("gallery")
print("job", now() - begin, file=sys.stderr)
