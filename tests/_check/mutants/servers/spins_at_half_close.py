"""Polls for a half-close while bytes are pending: the event stays ready, and the loop spins."""

import select

from tests._check.reference import EchoServer, main


class Mutant(EchoServer):
    """Overrides one step of the reference."""

    def serve(self, fd: int) -> None:
        """Send pending bytes, or echo the received ones."""
        super().serve(fd)
        if fd in self.pending:
            self.poll.modify(fd, select.EPOLLOUT | select.EPOLLRDHUP)


if __name__ == "__main__":
    main(Mutant)
