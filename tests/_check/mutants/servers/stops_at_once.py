"""Ends at SIGTERM, whatever is on its way."""

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def drain(self) -> None:
        """Do nothing of the kind."""


if __name__ == "__main__":
    main(Mutant)
