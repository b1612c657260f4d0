"""Answers each datagram twice, lest one gets lost."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Send two."""
        super().answer(sock, letter)
        super().answer(sock, letter)


if __name__ == "__main__":
    main(Mutant)
