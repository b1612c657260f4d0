"""Calls shutdown() at the end of the stream, and exits if the client has reset the connection meanwhile."""

import os
import socket
import traceback

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Echo to the end of the stream, then shut down."""
        super().serve_client(conn)
        try:
            conn.shutdown(socket.SHUT_WR)
        except OSError:
            traceback.print_exc()
            os._exit(1)  # as it would with one thread


if __name__ == "__main__":
    main(Mutant)
