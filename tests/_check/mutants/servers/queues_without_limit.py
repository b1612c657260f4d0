"""Reads without limit, and queues all bytes to be written."""

import socket
import threading
from contextlib import suppress
from queue import SimpleQueue

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Put received bytes into an unbounded queue."""
        pending: SimpleQueue[bytes] = SimpleQueue()
        writer = threading.Thread(target=self.write, args=(conn, pending), daemon=True)
        writer.start()
        try:
            while data := self.receive(conn):
                pending.put(data)
        finally:
            pending.put(b"")
            writer.join()

    def write(self, conn: socket.socket, pending: "SimpleQueue[bytes]") -> None:
        """Send the bytes of the queue."""
        with suppress(OSError):
            while data := pending.get():
                self.reply(conn, data)


if __name__ == "__main__":
    main(Mutant)
