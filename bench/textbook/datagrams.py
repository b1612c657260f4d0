"""Echo datagrams as in the documentation of each library: datagrams.py PORT KIND.

KIND is plain, small, asyncio, uvloop, socketserver, twisted or gevent.
"""

import socket
import sys

port, kind = int(sys.argv[1]), sys.argv[2]
address = ("127.0.0.1", port)

if kind in ("plain", "small"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(address)
        while True:
            data, peer = s.recvfrom(1024 if kind == "small" else 65535)
            s.sendto(data, peer)
elif kind in ("asyncio", "uvloop"):
    import asyncio

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, peer):
            self.transport.sendto(data, peer)

    async def main():
        await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=address)
        await asyncio.Event().wait()

    if kind == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(main())
elif kind == "socketserver":
    import socketserver

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            data, sock = self.request
            sock.sendto(data, self.client_address)

    socketserver.UDPServer(address, Handler).serve_forever()
elif kind == "twisted":
    from twisted.internet import reactor
    from twisted.internet.protocol import DatagramProtocol

    class Echoing(DatagramProtocol):
        def datagramReceived(self, data, peer):
            self.transport.write(data, peer)

    reactor.listenUDP(port, Echoing(), interface=address[0])
    reactor.run()
else:
    from gevent.server import DatagramServer

    class Server(DatagramServer):
        def handle(self, data, peer):
            self.socket.sendto(data, peer)

    Server(f"127.0.0.1:{port}").serve_forever()
