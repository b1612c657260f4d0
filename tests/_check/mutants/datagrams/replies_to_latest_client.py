"""Keeps the client in a variable, and replies to the latest one."""

import select
import socket
from contextlib import suppress

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def step(self, sock: socket.socket) -> None:
        """Reply to all datagrams received within 20 ms."""
        datagrams = [self.receive(sock)]
        while select.select([sock], [], [], 0.02)[0]:
            datagrams.append(self.receive(sock))
        accepted = [datagram for datagram in datagrams if not self.ignores(datagram)]
        for datagram in accepted:
            with suppress(OSError):
                self.reply(sock, datagram._replace(peer=accepted[-1].peer))


if __name__ == "__main__":
    main(Mutant)
