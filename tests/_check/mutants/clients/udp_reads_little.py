"""Has room for 1024 bytes, and does not know that there were more."""

from tests._check.client.reference_udp import Asker, main


class Mutant(Asker):
    """Differs in one step."""

    room = 1024


if __name__ == "__main__":
    main(Mutant)
