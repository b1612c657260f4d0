"""Exits as if all were well when nobody is there."""

from tests._check.client.reference_udp import Asker, main


class Mutant(Asker):
    """Differs in one step."""

    def complain(self, error: Exception) -> int:
        """Say what happened; 0 where nobody is."""
        code = super().complain(error)
        return 0 if isinstance(error, ConnectionRefusedError) else code


if __name__ == "__main__":
    main(Mutant)
