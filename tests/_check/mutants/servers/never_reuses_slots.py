"""Has a table of 4096 clients, and never reuses a slot."""

import socket
import sys

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    clients = 0

    def accept(self) -> socket.socket:
        """Accept one client."""
        self.clients += 1
        if self.clients > 4096:
            sys.exit("too many clients")
        return super().accept()


if __name__ == "__main__":
    main(Mutant)
