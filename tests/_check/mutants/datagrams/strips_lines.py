"""Takes a datagram for a line, and answers it without its newline."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Answer the text of a line."""
        super().answer(sock, letter._replace(data=letter.data.rstrip()))


if __name__ == "__main__":
    main(Mutant)
