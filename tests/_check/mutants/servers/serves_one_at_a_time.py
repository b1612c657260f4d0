"""Serves a client to the end before it starts with the next one."""

import socket
import threading

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    one = threading.Semaphore(1)

    def handle(self, conn: socket.socket) -> None:
        """Wait until no other client is served."""
        with self.one:
            super().handle(conn)


if __name__ == "__main__":
    main(Mutant)
