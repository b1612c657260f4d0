"""Ignores Ctrl-C."""

import signal

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def talk(self) -> None:
        """Do all of it, whoever wants it to stop."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().talk()


if __name__ == "__main__":
    main(Mutant)
