"""Reads whatever comes and writes it later, however much that is."""

import socket
import threading
from contextlib import suppress
from queue import SimpleQueue

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Put what comes into a queue without a limit."""
        owed: SimpleQueue[bytes] = SimpleQueue()
        writer = threading.Thread(target=self.write, args=(conn, owed), daemon=True)
        writer.start()
        try:
            while data := self.hear(conn):
                owed.put(data)
        finally:
            owed.put(b"")
            writer.join()

    def write(self, conn: socket.socket, owed: "SimpleQueue[bytes]") -> None:
        """Send what is in the queue."""
        with suppress(OSError):
            while data := owed.get():
                self.answer(conn, data)


if __name__ == "__main__":
    main(Mutant)
