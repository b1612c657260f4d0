"""Watches for the client's end while it still has something to send: that is ready for ever."""

import select

from tests._check.reference import Echo, main


class Mutant(Echo):
    """Differs in one step."""

    def serve(self, fd: int) -> None:
        """Send what is owed, or echo what has come."""
        super().serve(fd)
        if fd in self.debts:
            self.poll.modify(fd, select.EPOLLOUT | select.EPOLLRDHUP)


if __name__ == "__main__":
    main(Mutant)
