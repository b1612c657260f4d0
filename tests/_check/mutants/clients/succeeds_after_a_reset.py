"""Says that the connection was reset, and exits as if all were well."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def complain(self, error: Exception) -> int:
        """Say what happened; 0 when the connection broke off."""
        code = super().complain(error)
        return 0 if isinstance(error, ConnectionResetError | BrokenPipeError) else code


if __name__ == "__main__":
    main(Mutant)
