"""Sends everything twice."""

import socket

from tests._check.client.reference import Client, ClientError, main


class Mutant(Client):
    """The reference client with one step changed."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send all data twice."""
        super().send(sock, data)
        super().send(sock, data)

    def compare(self, data: bytes) -> None:
        """Compare with the data sent twice."""
        offset = self.received % len(self.sent)
        expected = self.sent[offset : offset + len(data)]
        expected += self.sent[: len(data) - len(expected)]
        if data != expected:
            raise ClientError(f"the answer differs after {self.received} bytes")


if __name__ == "__main__":
    main(Mutant)
