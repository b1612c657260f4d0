"""Retries a failed accept() at once: out of descriptors, it spins."""

from contextlib import suppress

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve(self) -> None:
        """Accept clients until a signal arrives."""
        while True:
            with suppress(OSError):
                self.start_client(self.accept())


if __name__ == "__main__":
    main(Mutant)
