"""Reports that the connection was reset, but exits with code 0."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def report(self, error: Exception) -> int:
        """Report the error; return 0 after a reset."""
        code = super().report(error)
        return 0 if isinstance(error, ConnectionResetError | BrokenPipeError) else code


if __name__ == "__main__":
    main(Mutant)
