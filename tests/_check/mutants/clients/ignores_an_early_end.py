"""Treats end of file as the end of the reply, even if bytes are missing."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def check_complete(self) -> None:
        """Check only after a failed send."""
        if self.send_failed:
            super().check_complete()


if __name__ == "__main__":
    main(Mutant)
