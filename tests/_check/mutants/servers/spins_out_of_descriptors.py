"""Tries accept() again at once when it fails: out of descriptors, it keeps a processor busy."""

from contextlib import suppress

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def serve(self) -> None:
        """Take in clients until a signal comes."""
        while True:
            with suppress(OSError):
                self.welcome(self.accept())


if __name__ == "__main__":
    main(Mutant)
