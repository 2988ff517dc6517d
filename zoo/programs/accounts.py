# An accounts service on asyncio: the profile is answered at once; a log-in stretches the password on the event loop itself.
# Models a long computation that holds up an event loop.
# usage: PROGRAM PORT
import asyncio
import hashlib
import sys


def check_password(password):
    return hashlib.pbkdf2_hmac("sha512", password, b"salt of the shop", 120000).hex()


async def visit(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return writer.close()
        body = check_password(b"correct horse") if head.startswith(b"GET /login") else '{"name": "Ada"}'
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()


async def main():
    server = await asyncio.start_server(visit, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
