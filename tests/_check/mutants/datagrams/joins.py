"""Takes datagrams for pieces of a stream: what one client sends within a moment is answered at once."""

import select
import socket
from contextlib import suppress

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Differs in one step."""

    def step(self, sock: socket.socket) -> None:
        """Answer all that has come, each client's together."""
        letters = [self.hear(sock)]
        while select.select([sock], [], [], 0.02)[0]:
            letters.append(self.hear(sock))
        peers = {letter.peer: letter for letter in letters if not self.refuses(letter)}
        for peer, letter in peers.items():
            data = b"".join(each.data for each in letters if each.peer == peer)
            with suppress(OSError):
                self.answer(sock, letter._replace(data=data))


if __name__ == "__main__":
    main(Mutant)
