"""Does not expect accept() to fail: out of descriptors, it ends."""

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def serve(self) -> None:
        """Take in clients until a signal comes."""
        while True:
            self.welcome(self.accept())


if __name__ == "__main__":
    main(Mutant)
