"""Has a pool of 600 threads; each connection occupies one until it is closed."""

import socket
import threading

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    pool = threading.Semaphore(600)

    def handle(self, conn: socket.socket) -> None:
        """Wait until a thread is free."""
        with self.pool:
            super().handle(conn)


if __name__ == "__main__":
    main(Mutant)
