"""Limits the whole reply to 2.6 seconds plus its time at 2 MB/s, despite progress."""

import socket
import time

from tests._check.client.reference import Client, ClientError, main


class Mutant(Client):
    """The reference client with one step changed."""

    def wait_readable(self, sock: socket.socket) -> None:
        """Wait until the time limit of the whole reply."""
        self.started_at = getattr(self, "started_at", time.monotonic())
        deadline = self.started_at + 2.6 + len(self.sent) / 2_000_000
        if not self.readable(sock, deadline - time.monotonic()):
            raise ClientError("the answer takes too long")


if __name__ == "__main__":
    main(Mutant)
