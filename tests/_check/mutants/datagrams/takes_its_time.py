"""Does something slow with each datagram before it reads the next, such as asking for the sender's name."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Answer, and look who that was."""
        super().answer(sock, letter)
        self.moment.wait(0.05)


if __name__ == "__main__":
    main(Mutant)
