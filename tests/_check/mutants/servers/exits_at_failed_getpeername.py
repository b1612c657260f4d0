"""Calls getpeername() right after accept(), and exits if the client has already reset the connection."""

import os
import socket
import traceback

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def accept(self) -> socket.socket:
        """Accept one client, and look up its address."""
        conn = super().accept()
        try:
            conn.getpeername()
        except OSError:
            traceback.print_exc()
            os._exit(1)
        return conn


if __name__ == "__main__":
    main(Mutant)
