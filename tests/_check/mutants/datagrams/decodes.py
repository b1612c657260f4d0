"""Takes a datagram for UTF-8, and replaces what is none."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Answer the text."""
        super().answer(sock, letter._replace(data=letter.data.decode(errors="replace").encode()))


if __name__ == "__main__":
    main(Mutant)
