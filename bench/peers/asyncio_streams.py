"""Echo with asyncio's streams, on its own loop or on uvloop's: asyncio_streams.py [asyncio|uvloop]."""

import asyncio
import sys


async def echo(reader, writer):
    try:
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096, limit=128 * 1024)
    print(f"listening on tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


bytearray(1 << 20)  # freed at once, so that glibc serves later reads of 256 KiB from the heap, without mmap and munmap
if sys.argv[1:] == ["uvloop"]:
    import uvloop

    uvloop.install()
asyncio.run(main())
