"""Catches no errors: one client's reset ends the server."""

import os
import socket
import traceback

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def handle(self, conn: socket.socket) -> None:
        """Serve a client without catching errors."""
        try:
            with conn:
                self.serve_client(conn)
        except OSError:
            traceback.print_exc()
            os._exit(1)  # as it would with one thread
        del self.last_received[conn]


if __name__ == "__main__":
    main(Mutant)
