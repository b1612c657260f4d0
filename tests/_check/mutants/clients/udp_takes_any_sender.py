"""Accepts a reply from any sender."""

from tests._check.client.reference_udp import UdpEchoClient, main


class Mutant(UdpEchoClient):
    """The reference client with one step changed."""

    def open(self) -> None:
        """Do not connect."""

    def send(self, line: bytes) -> None:
        """Send a datagram."""
        self.sock.sendto(line, self.server)


if __name__ == "__main__":
    main(Mutant)
