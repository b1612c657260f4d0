"""Reports that the connection was refused, but exits with code 0."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def report(self, error: Exception) -> int:
        """Report the error; return 0 if the connection was refused."""
        code = super().report(error)
        return 0 if isinstance(error, ConnectionRefusedError) else code


if __name__ == "__main__":
    main(Mutant)
