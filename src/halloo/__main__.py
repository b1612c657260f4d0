"""Run the command, installed as `halloo` or as `python -m halloo`.

^C ends it at once from its first moment: most of its start is the import of the command line.
"""

import os
import sys

INTERRUPTED = 130  # 128 + SIGINT
TYPE_CHECKING = False  # as in halloo
try:
    import signal
except KeyboardInterrupt:
    os._exit(INTERRUPTED)

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


def main() -> "NoReturn":
    """Import the command line, and run it."""
    sys.unraisablehook = _end_if_interrupted
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # otherwise it is ignored, as by nohup(1)
        signal.signal(signal.SIGINT, _end)
    from halloo._cli.main import main as run  # noqa: PLC0415 - slow to import, so with a handler

    run()


def _end(_number: int, _frame: "FrameType | None") -> "NoReturn":
    os._exit(INTERRUPTED)


def _end_if_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    """End for a KeyboardInterrupt in a callback, such as importlib's: Python would print it and go on."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        os._exit(INTERRUPTED)
    sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    main()
