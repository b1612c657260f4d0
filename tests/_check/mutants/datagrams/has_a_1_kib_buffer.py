"""Has a buffer of 1024 bytes, and truncates larger datagrams."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def receive(self, sock: socket.socket) -> Datagram:
        """Receive a datagram, or the first part of it."""
        data, notes, _, peer = sock.recvmsg(1024, 256)
        return Datagram(data, peer, notes)


if __name__ == "__main__":
    main(Mutant)
