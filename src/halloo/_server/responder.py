"""Call `respond`, check what it returns, and report what it raises.

Whatever it raises costs one connection, or one datagram its answer: never the loop.
"""

from collections.abc import Callable

from halloo._net.signals import SECOND_STOP
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
        except BaseException as error:  # neither SystemExit nor an outcome of pytest is an exit of this thread
            if isinstance(error, KeyboardInterrupt) and error.args == (SECOND_STOP,):
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
