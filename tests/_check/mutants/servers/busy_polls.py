"""Polls in a busy loop, without waiting."""

from tests._check.reference import EchoServer, main


class Mutant(EchoServer):
    """Overrides one step of the reference."""

    def run_once(self, timeout: float | None) -> bool:
        """Poll without a timeout."""
        del timeout
        return super().run_once(0)


if __name__ == "__main__":
    main(Mutant)
