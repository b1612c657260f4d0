"""Keeps its client in a variable, and answers whoever is there by then."""

import select
import socket
from contextlib import suppress

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Differs in one step."""

    def step(self, sock: socket.socket) -> None:
        """Answer what has come within a moment."""
        letters = [self.hear(sock)]
        while select.select([sock], [], [], 0.02)[0]:
            letters.append(self.hear(sock))
        accepted = [letter for letter in letters if not self.refuses(letter)]
        for letter in accepted:
            with suppress(OSError):
                self.answer(sock, letter._replace(peer=accepted[-1].peer))


if __name__ == "__main__":
    main(Mutant)
