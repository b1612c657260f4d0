"""Does not handle errors of accept(): out of descriptors, it exits."""

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve(self) -> None:
        """Accept clients until a signal arrives."""
        while True:
            self.start_client(self.accept())


if __name__ == "__main__":
    main(Mutant)
