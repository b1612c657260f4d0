"""Empties its socket after an answer: what came meanwhile is lost."""

import select
import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Answer one, and forget the others."""
        super().answer(sock, letter)
        while select.select([sock], [], [], 0.02)[0]:
            self.hear(sock)


if __name__ == "__main__":
    main(Mutant)
