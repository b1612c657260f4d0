"""Waits for an answer without a limit."""

from tests._check.client.reference_udp import Asker, main


class Mutant(Asker):
    """Differs in one step."""

    patience = None


if __name__ == "__main__":
    main(Mutant)
