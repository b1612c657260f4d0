"""Prints a line for each message."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, conn: socket.socket, data: bytes) -> None:
        """Print a line before the reply."""
        print(f"{len(data)} bytes from {conn.getpeername()}", flush=True)
        super().reply(conn, data)


if __name__ == "__main__":
    main(Mutant)
