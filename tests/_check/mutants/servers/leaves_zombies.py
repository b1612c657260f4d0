"""Starts a process for each client, and never takes note of its end."""

import os
import socket
from contextlib import suppress

from tests._check.threaded import Server, Stop, main


class Mutant(Server):
    """Differs in one step."""

    def welcome(self, conn: socket.socket) -> None:
        """Begin to serve a client."""
        if os.fork() == 0:
            self.listener.close()
            with suppress(Stop):
                self.handle(conn)
            os._exit(0)
        conn.close()


if __name__ == "__main__":
    main(Mutant)
