"""Exits at SIGTERM, and drops bytes in flight."""

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def drain(self) -> None:
        """Do nothing."""


if __name__ == "__main__":
    main(Mutant)
