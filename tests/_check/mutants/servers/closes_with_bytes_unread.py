"""Says goodbye at SIGTERM and closes, though the client is still sending: that is a reset."""

import socket
from contextlib import suppress

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def drain(self) -> None:
        """Close every connection, the orderly way as it thinks."""
        for conn in list(self.heard):
            with suppress(OSError):
                conn.shutdown(socket.SHUT_WR)
                conn.close()


if __name__ == "__main__":
    main(Mutant)
