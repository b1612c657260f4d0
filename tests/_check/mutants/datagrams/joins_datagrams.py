"""Treats datagrams as a stream: those that one client sends within 20 ms get one reply."""

import select
import socket
from contextlib import suppress

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def step(self, sock: socket.socket) -> None:
        """Send one reply to each client."""
        datagrams = [self.receive(sock)]
        while select.select([sock], [], [], 0.02)[0]:
            datagrams.append(self.receive(sock))
        peers = {datagram.peer: datagram for datagram in datagrams if not self.ignores(datagram)}
        for peer, datagram in peers.items():
            data = b"".join(each.data for each in datagrams if each.peer == peer)
            with suppress(OSError):
                self.reply(sock, datagram._replace(data=data))


if __name__ == "__main__":
    main(Mutant)
