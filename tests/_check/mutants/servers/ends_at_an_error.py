"""Catches nothing: one client's reset ends the server."""

import os
import socket
import traceback

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def handle(self, conn: socket.socket) -> None:
        """Serve a client, come what may."""
        try:
            with conn:
                self.talk(conn)
        except OSError:
            traceback.print_exc()
            os._exit(1)  # as it would in one thread
        del self.heard[conn]


if __name__ == "__main__":
    main(Mutant)
