"""Reads lines, strips them, and sends them with a newline."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Echo each line, stripped."""
        rest = b""
        while data := self.receive(conn):
            *lines, rest = (rest + data).split(b"\n")
            self.reply(conn, b"".join(line.strip() + b"\n" for line in lines))
        self.reply(conn, rest.strip())


if __name__ == "__main__":
    main(Mutant)
