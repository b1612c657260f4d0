"""Takes any answer for the one to its last question."""

from tests._check.client.reference_udp import Asker, main


class Mutant(Asker):
    """Differs in one step."""

    def is_copy(self, data: bytes) -> bool:
        """Nothing is one."""
        return not isinstance(data, bytes)


if __name__ == "__main__":
    main(Mutant)
