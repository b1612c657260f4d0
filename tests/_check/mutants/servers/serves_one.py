"""Serves its first client, and ends."""

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def serve(self) -> None:
        """Accept once."""
        self.welcome(self.accept())
        while self.heard:
            self.moment.wait(0.01)


if __name__ == "__main__":
    main(Mutant)
