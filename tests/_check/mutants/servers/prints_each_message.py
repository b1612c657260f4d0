"""Prints a line for each message."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, conn: socket.socket, data: bytes) -> None:
        """Tell the screen first."""
        print(f"{len(data)} bytes from {conn.getpeername()}", flush=True)
        super().answer(conn, data)


if __name__ == "__main__":
    main(Mutant)
