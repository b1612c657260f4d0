"""asyncio's documentation, "TCP Echo Server" as a Protocol: asyncio_protocol.py PORT [uvloop]."""

import asyncio
import sys


class EchoServerProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main(port):
    server = await asyncio.get_running_loop().create_server(EchoServerProtocol, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    uvloop.install()
asyncio.run(main(int(sys.argv[1])))
