"""Sends everything twice, to be sure."""

import socket

from tests._check.client.reference import Client, Trouble, main


class Mutant(Client):
    """Differs in one step."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send all of it, and again."""
        super().send(sock, data)
        super().send(sock, data)

    def compare(self, data: bytes) -> None:
        """Compare with what is expected, twice."""
        place = self.received % len(self.sent)
        expected = self.sent[place : place + len(data)]
        expected += self.sent[: len(data) - len(expected)]
        if data != expected:
            raise Trouble(f"the answer differs after {self.received} bytes")


if __name__ == "__main__":
    main(Mutant)
