"""Writes a little later than it reads, and at the end of the stream drops the bytes not written yet."""

import select
import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Hold the last piece back until nothing arrives for 2 ms."""
        held, poll = b"", select.poll()
        poll.register(conn, select.POLLIN)
        while data := self.receive(conn):
            self.reply(conn, held)
            held = data
            if not poll.poll(2):
                self.reply(conn, held)
                held = b""


if __name__ == "__main__":
    main(Mutant)
