"""Has a pool of 600 threads, each held by a client for as long as that stays."""

import socket
import threading

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    pool = threading.Semaphore(600)

    def handle(self, conn: socket.socket) -> None:
        """Wait until there is a thread."""
        with self.pool:
            super().handle(conn)


if __name__ == "__main__":
    main(Mutant)
