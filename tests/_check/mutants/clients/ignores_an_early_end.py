"""Takes the end for the end of the answer, whatever is missing."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def judge(self) -> None:
        """Be content, unless the connection broke."""
        if self.broken:
            super().judge()


if __name__ == "__main__":
    main(Mutant)
