"""Writes a moment after it reads, and at the client's end forgets what it has not written."""

import select
import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Hold the last piece back until nothing comes for 2 ms."""
        held, poll = b"", select.poll()
        poll.register(conn, select.POLLIN)
        while data := self.hear(conn):
            self.answer(conn, held)
            held = data
            if not poll.poll(2):
                self.answer(conn, held)
                held = b""


if __name__ == "__main__":
    main(Mutant)
