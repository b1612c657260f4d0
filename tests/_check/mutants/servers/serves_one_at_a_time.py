"""Serves a client to its end before it begins with the next one."""

import socket
import threading

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    one = threading.Semaphore(1)

    def handle(self, conn: socket.socket) -> None:
        """Wait for the turn."""
        with self.one:
            super().handle(conn)


if __name__ == "__main__":
    main(Mutant)
