"""Shuts down and closes at SIGTERM while the client is still sending, which is a reset."""

import socket
from contextlib import suppress

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def drain(self) -> None:
        """Shut down and close every connection."""
        for conn in list(self.last_received):
            with suppress(OSError):
                conn.shutdown(socket.SHUT_WR)
                conn.close()


if __name__ == "__main__":
    main(Mutant)
