"""Keeps to a rate by sleeping, in the loop that serves everybody."""

import select
import socket

from tests._check.reference import Echo, main


class Mutant(Echo):
    """Differs in one step."""

    echoed = 0

    def hear(self, sock: socket.socket) -> bytes:
        """Receive what has come; after each 8 MiB rest for 0.1 s."""
        data = super().hear(sock)
        self.echoed += len(data)
        if self.echoed >= 8 << 20:
            self.echoed = 0
            select.select([], [], [], 0.1)
        return data


if __name__ == "__main__":
    main(Mutant)
