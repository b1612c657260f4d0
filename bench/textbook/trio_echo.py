"""trio's tutorial, echo-server.py, without its `except`, as readers shorten it: trio_echo.py PORT."""

import sys

import trio


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def main(port):
    await trio.serve_tcp(echo, port, host="127.0.0.1")


trio.run(main, int(sys.argv[1]))
