"""Serves its first client, and exits."""

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve(self) -> None:
        """Accept once."""
        self.start_client(self.accept())
        while self.last_received:
            self.never_set.wait(0.01)


if __name__ == "__main__":
    main(Mutant)
