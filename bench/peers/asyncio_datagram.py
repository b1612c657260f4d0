"""Echo datagrams as asyncio's documentation does: asyncio_datagram.py [asyncio|warm|uvloop [PORT]].

uvloop, and many a Python's asyncio, send no empty datagram, whatever they are told; everything else goes back.
"""

import asyncio
import sys


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.transport.sendto(data, peer)


async def main(port=0):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", port))
    print(f"listening on udp://127.0.0.1:{transport.get_extra_info('sockname')[1]}", flush=True)
    await asyncio.Event().wait()


kind, *ports = sys.argv[1:] or ["asyncio"]
if kind != "asyncio":
    bytearray(1 << 20)  # freed at once: see asyncio_protocol.py, asyncio reads datagrams by recvfrom(256 KiB) too
if kind == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(*map(int, ports)))
