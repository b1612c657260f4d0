"""Starts a process for each client, and never reaps it."""

import os
import socket
from contextlib import suppress

from tests._check.threaded import Server, Stop, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def start_client(self, conn: socket.socket) -> None:
        """Serve a client in a child process."""
        if os.fork() == 0:
            self.listener.close()
            with suppress(Stop):
                self.handle(conn)
            os._exit(0)
        conn.close()


if __name__ == "__main__":
    main(Mutant)
