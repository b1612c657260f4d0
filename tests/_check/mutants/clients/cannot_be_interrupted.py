"""Ignores Ctrl-C."""

import signal

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def exchange(self) -> None:
        """Ignore SIGINT, then run."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().exchange()


if __name__ == "__main__":
    main(Mutant)
