"""Reads lines, strips them, and sends them with a newline."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Send back the words of each line."""
        rest = b""
        while data := self.hear(conn):
            *lines, rest = (rest + data).split(b"\n")
            self.answer(conn, b"".join(line.strip() + b"\n" for line in lines))
        self.answer(conn, rest.strip())


if __name__ == "__main__":
    main(Mutant)
