"""Waits for the end of a line."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Send back whole lines; at the end, the rest."""
        rest = b""
        while data := self.hear(conn):
            lines, newline, rest = (rest + data).rpartition(b"\n")
            self.answer(conn, lines + newline)
        self.answer(conn, rest)


if __name__ == "__main__":
    main(Mutant)
