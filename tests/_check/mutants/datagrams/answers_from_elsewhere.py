"""Answers from the address that the system prefers, not from the one that was asked."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Send a datagram back."""
        sock.sendto(letter.data, letter.peer)


if __name__ == "__main__":
    main(Mutant)
