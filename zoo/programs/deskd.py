"""A desk that shows cases, whose text comes from an archive, and the hour. To be served by uvicorn.
The archive's address is in the environment as ARCHIVE."""
import os
import time

import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

archive = requests.Session()


async def case(_):
    return PlainTextResponse(archive.get(os.environ["ARCHIVE"]).text)


async def hour(_):
    return PlainTextResponse(time.strftime("%H:%M"))


application = Starlette(routes=[Route("/case", case), Route("/hour", hour)])
