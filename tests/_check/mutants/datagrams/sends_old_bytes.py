"""Sends as much of its buffer as was ever filled, the end of an earlier datagram too."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    buffer = b""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Send the buffer."""
        self.buffer = letter.data + self.buffer[len(letter.data) :]
        super().answer(sock, letter._replace(data=self.buffer))


if __name__ == "__main__":
    main(Mutant)
