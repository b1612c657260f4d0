"""Serves at most 100 clients at once, as `ncat --keep-open` does."""

import socket
import threading

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    hundred = threading.Semaphore(100)

    def handle(self, conn: socket.socket) -> None:
        """Wait until fewer than 100 clients are served."""
        with self.hundred:
            super().handle(conn)


if __name__ == "__main__":
    main(Mutant)
