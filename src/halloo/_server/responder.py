"""Call `respond`, check what it returns, and report what it raises.

Whatever it raises costs one connection, or one datagram its answer: never the loop.
"""

import threading
from collections.abc import Callable

from halloo._server.failures import log_failure
from halloo.errors import UsageError

Respond = Callable[[bytes], bytes | None]  # the answer to a message; None is no answer


class RespondError(Exception):
    """`respond` has no usable answer; the error itself has been reported."""


class Responder:
    """`respond`, made safe to call in the loop."""

    def __init__(self, respond: Respond, report: Callable[[BaseException], object] = log_failure) -> None:
        """Pass to `report` whatever `respond` raises."""
        self._respond = respond
        self.report = report

    def __call__(self, message: bytes) -> bytes | None:
        """Return the answer to a message. Raises RespondError."""
        try:
            return _checked(self._respond(message))
        except BaseException as error:
            # SystemExit, and the outcomes of pytest, are no exit of this thread. ^C is one, in the main thread alone.
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            self.report(error)
            raise RespondError from error


def _checked(answer: object) -> bytes | None:
    if answer is None or type(answer) is bytes:
        return answer
    try:
        return bytes(memoryview(answer))  # type: ignore[arg-type]  # what is no buffer is a TypeError
    except TypeError:
        fact = f"returned {type(answer).__name__}, which is neither bytes nor None"
        raise UsageError(fact, "encode text: text.encode()", argument="respond") from None
