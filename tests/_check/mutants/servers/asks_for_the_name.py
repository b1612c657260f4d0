"""Asks for a client's name right after accept(), and does not expect that it may have gone already."""

import os
import socket
import traceback

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def accept(self) -> socket.socket:
        """Take in one client, and name it."""
        conn = super().accept()
        try:
            conn.getpeername()
        except OSError:
            traceback.print_exc()
            os._exit(1)
        return conn


if __name__ == "__main__":
    main(Mutant)
