"""Serves a hundred clients at once at most, as `ncat --keep-open` does."""

import socket
import threading

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    hundred = threading.Semaphore(100)

    def handle(self, conn: socket.socket) -> None:
        """Wait until there is a place."""
        with self.hundred:
            super().handle(conn)


if __name__ == "__main__":
    main(Mutant)
