"""Waits for the end of a line before it echoes."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Echo whole lines; at the end of the stream, the rest."""
        rest = b""
        while data := self.receive(conn):
            lines, newline, rest = (rest + data).rpartition(b"\n")
            self.reply(conn, lines + newline)
        self.reply(conn, rest)


if __name__ == "__main__":
    main(Mutant)
