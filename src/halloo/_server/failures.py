"""Report what `respond` raises: in the log at once, and to the program when its server closes."""

import logging
import sys
import textwrap
import traceback

from halloo._core.escape import printable
from halloo._output.background import FLUSH, Background
from halloo._output.lines import writer_of
from halloo.errors import one_line

MAX_KEPT = 10  # exceptions; each keeps the objects of its frames alive
MAX_TEXT = 20_000  # characters of a traceback; one deep in libraries has 5000
MAX_WAITING = 100  # exceptions that are not logged yet

log = logging.getLogger("halloo")


def _write(problem: BaseException | int) -> None:
    error = None if isinstance(problem, int) else problem
    fact = "respond failed; its connection is closed, or its datagram has no answer; others are not affected"
    if error is None:
        fact = f"{problem} more errors of respond are not shown, because the log was not read"
    if log.hasHandlers():
        info = (type(error), error, error.__traceback__) if error else None
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, fact, (), info)
        record.exc_text = format_traceback(error) if error else None  # which a Formatter takes as it is
        log.handle(record)
    elif log.isEnabledFor(logging.ERROR):
        # Not by logging's own last resort: the lock that it holds while it writes would block the end of the program.
        write = writer_of(sys.stderr)
        for line in [fact, *(format_traceback(error).splitlines() if error else [])]:
            write(one_line(line))


def format_traceback(error: BaseException) -> str:
    """Format a traceback without control characters; indented, so that no line of a peer's text passes for the log's.

    Of a long one the end is kept, which is the error itself.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    return textwrap.indent(printable(text[-MAX_TEXT:]), "  ")


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

    def raise_all(self) -> None:
        """Raise the only exception as it is, or a group of several; the next call raises nothing."""
        kept, fact = self._take()
        if len(kept) > 1:
            raise BaseExceptionGroup(fact, kept)
        for error in kept:
            raise error

    def add_notes(self, error: BaseException) -> None:
        """Add the exceptions as notes to one that is on its way already."""
        kept, fact = self._take()
        for each in kept:
            error.add_note(f"{fact}:\n{format_traceback(each)}")

    def _take(self) -> tuple[list[BaseException], str]:
        kept, more = self._kept, self._count - len(self._kept)
        fact = f"respond raised {self._count} exceptions, of which these are the first {len(kept)}" if more else ""
        self._kept, self._count = [], 0
        return kept, fact or ("respond raised several exceptions" if len(kept) > 1 else "respond raised an exception")
