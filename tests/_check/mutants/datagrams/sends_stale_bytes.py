"""Sends its buffer with the end of earlier, longer datagrams."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    buffer = b""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Send the whole buffer."""
        self.buffer = datagram.data + self.buffer[len(datagram.data) :]
        super().reply(sock, datagram._replace(data=self.buffer))


if __name__ == "__main__":
    main(Mutant)
