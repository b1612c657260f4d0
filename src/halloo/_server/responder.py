"""Call `respond`, check what it returns, and report what it raises: in the log at once, and when its server closes.

Whatever it raises costs one connection, or one datagram its answer: never the loop.
"""

import logging
import sys
import textwrap
import traceback
from collections.abc import Callable

from halloo._core.escape import printable
from halloo._net.signals import SECOND_STOP
from halloo._output.background import FLUSH, Background
from halloo._output.lines import writer_of
from halloo.errors import UsageError, one_line

MAX_KEPT = 10  # exceptions; each keeps the objects of its frames alive
MAX_TEXT = 20_000  # characters of a traceback; one deep in libraries has 5000
MAX_WAITING = 100  # exceptions that are not logged yet

log = logging.getLogger("halloo")

Respond = Callable[[bytes], bytes | None]  # the answer to a message; None is no answer


class RespondError(Exception):
    """`respond` has no usable answer; the error itself has been reported."""


class Responder:
    """`respond`, made safe to call in the loop."""

    def __init__(self, respond: Respond, report: Callable[[BaseException], object] | None = None) -> None:
        """Pass to `report` whatever `respond` raises, by default to the log."""
        self._respond = respond
        self.report = report or log_failure

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


# What it raises.


def format_traceback(error: BaseException) -> str:
    """Format a traceback without control characters; indented, so that no line of a peer's text passes for the log's.

    Of a long one the end is kept, which is the error itself.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    return textwrap.indent(printable(text[-MAX_TEXT:]), "  ")


def _write(problem: BaseException | int) -> None:
    if not log.isEnabledFor(logging.ERROR):
        return
    if isinstance(problem, int):
        fact = f"{problem} more errors of respond are not shown, because the log was not read"
        info, text = None, ""
    else:
        fact = "respond failed; its connection is closed, or its datagram has no answer; others are not affected"
        info, text = (type(problem), problem, problem.__traceback__), format_traceback(problem)
    if log.hasHandlers():
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, fact, (), info)
        record.exc_text = text or None  # which a Formatter takes as it is
        log.handle(record)
    else:
        # Not by logging's own last resort: the lock that it holds while it writes would block the end of the program.
        write = writer_of(sys.stderr)
        for line in (fact, *text.splitlines()):
            write(one_line(line))


_log: Background[BaseException | int] = Background(_write, dropped=int, max_waiting=MAX_WAITING)


def log_failure(error: BaseException) -> None:
    """Log an exception of `respond` with its traceback, in another thread: a handler of the log may block."""
    _log.add(error)


def flush_log() -> None:
    """Wait until everything is logged, for a second at most."""
    _log.close(FLUSH)


class Failures:
    """The first exceptions of `respond`, and how many there were."""

    def __init__(self) -> None:
        self._kept: list[BaseException] = []
        self._count = 0

    def add(self, error: BaseException) -> None:
        """Log an exception, and keep it if there is room."""
        log_failure(error)
        self._count += 1
        if len(self._kept) < MAX_KEPT:
            self._kept.append(error)

    def raise_all(self, other: BaseException | None = None) -> None:
        """Raise the only exception as it is, or a group of several; or add them as notes to one on its way already.

        The next call raises nothing.
        """
        kept, count, self._kept, self._count = self._kept, self._count, [], 0
        fact = "respond raised several exceptions" if count > 1 else "respond raised an exception"
        if count > len(kept):
            fact = f"respond raised {count} exceptions, of which these are the first {len(kept)}"
        if other is not None:
            for each in kept:
                other.add_note(f"{fact}:\n{format_traceback(each)}")
        elif count > 1:
            raise BaseExceptionGroup(fact, kept)
        elif kept:
            raise kept[0]
