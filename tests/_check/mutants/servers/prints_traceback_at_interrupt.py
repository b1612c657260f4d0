"""Has no handler for SIGINT: Ctrl-C ends in a traceback."""

import signal

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    signals = (signal.SIGTERM,)


if __name__ == "__main__":
    main(Mutant)
