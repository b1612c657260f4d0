"""Asks the system again and again whether there is something to do."""

from tests._check.reference import Echo, main


class Mutant(Echo):
    """Differs in one step."""

    def turn(self, timeout: float | None) -> bool:
        """Do once what is ready now."""
        del timeout
        return super().turn(0)


if __name__ == "__main__":
    main(Mutant)
