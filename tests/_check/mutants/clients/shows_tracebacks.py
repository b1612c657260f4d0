"""Catches nothing."""

import traceback

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def run(self) -> int:
        """Do it, and show the inside when something happens."""
        try:
            self.talk()
        except (Exception, KeyboardInterrupt):  # noqa: BLE001 - as the interpreter does
            traceback.print_exc()
            return 1
        return 0


if __name__ == "__main__":
    main(Mutant)
