"""Catches no exceptions."""

import traceback

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def run(self) -> int:
        """Run, and print a traceback on an exception."""
        try:
            self.exchange()
        except (Exception, KeyboardInterrupt):  # noqa: BLE001 - as the interpreter does
            traceback.print_exc()
            return 1
        return 0


if __name__ == "__main__":
    main(Mutant)
