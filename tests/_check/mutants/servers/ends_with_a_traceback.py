"""Leaves Ctrl-C to Python."""

import signal

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    signals = (signal.SIGTERM,)


if __name__ == "__main__":
    main(Mutant)
