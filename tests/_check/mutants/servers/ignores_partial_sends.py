"""Ignores the result of a blocking send(), which is partial after SIGSTOP and SIGCONT."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, conn: socket.socket, data: bytes) -> None:
        """Send once."""
        conn.send(data)


if __name__ == "__main__":
    main(Mutant)
