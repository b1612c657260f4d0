"""Answers a client's end with shutdown(), and does not expect that it may have reset meanwhile."""

import os
import socket
import traceback

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Send back what comes, then say goodbye."""
        super().talk(conn)
        try:
            conn.shutdown(socket.SHUT_WR)
        except OSError:
            traceback.print_exc()
            os._exit(1)  # as it would in one thread


if __name__ == "__main__":
    main(Mutant)
