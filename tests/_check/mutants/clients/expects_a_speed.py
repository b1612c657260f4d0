"""Allows the whole answer 2.6 seconds and the time that it takes at 2 MB/s, whether it comes or not."""

import socket
import time

from tests._check.client.reference import Client, Trouble, main


class Mutant(Client):
    """Differs in one step."""

    def wait(self, sock: socket.socket) -> None:
        """Wait until the time of the whole answer is over."""
        self.began = getattr(self, "began", time.monotonic())
        deadline = self.began + 2.6 + len(self.sent) / 2_000_000
        if not self.readable(sock, deadline - time.monotonic()):
            raise Trouble("the answer takes too long")


if __name__ == "__main__":
    main(Mutant)
