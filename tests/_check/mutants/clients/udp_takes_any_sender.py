"""Takes an answer from anybody."""

from tests._check.client.reference_udp import Asker, main


class Mutant(Asker):
    """Differs in one step."""

    def open(self) -> None:
        """Do not connect."""

    def send(self, line: bytes) -> None:
        """Send a datagram."""
        self.sock.sendto(line, self.server)


if __name__ == "__main__":
    main(Mutant)
