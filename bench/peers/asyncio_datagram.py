"""Echo datagrams as in asyncio's documentation: asyncio_datagram.py [asyncio|warm|uvloop [PORT]].

uvloop, and asyncio in many Python versions, do not send empty datagrams; all others are echoed.
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
    bytearray(1 << 20)  # freed at once, see asyncio_protocol.py: asyncio also reads datagrams by recvfrom(256 KiB)
if kind == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(*map(int, ports)))
