"""Echo with asyncio's Protocol, on its loop or uvloop's: asyncio_protocol.py [asyncio|warm|uvloop [CERT KEY]]."""

import asyncio
import ssl
import sys


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def main(cert=None, key=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if cert else None
    if context:
        context.load_cert_chain(cert, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096, ssl=context)
    print(f"listening on tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


kind, *secrets = sys.argv[1:] or ["asyncio"]
if kind != "asyncio":
    # Freed at once, so that glibc serves asyncio's reads of 256 KiB from the heap. Otherwise each is an mmap and a
    # munmap, and asyncio is four times as slow: "asyncio" is the default, "warm" the warmed-up state.
    bytearray(1 << 20)
if kind == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(*secrets))
