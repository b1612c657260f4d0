"""Report what `respond` raises: in the log at once, and to the program when its server closes."""

import logging
import traceback

from halloo._core.escape import printable

MAX_KEPT = 10  # exceptions; each keeps the objects of its frames alive

log = logging.getLogger("halloo")


def log_failure(error: BaseException) -> None:
    """Log an exception of `respond` with its traceback."""
    log.error(
        "respond failed; its connection is closed, or its datagram has no answer; others are not affected",
        exc_info=error,
    )


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
            error.add_note(f"{fact}:\n{printable(''.join(traceback.format_exception(each)).rstrip())}")

    def _take(self) -> tuple[list[BaseException], str]:
        kept, more = self._kept, self._count - len(self._kept)
        fact = f"respond raised {self._count} exceptions, of which these are the first {len(kept)}" if more else ""
        self._kept, self._count = [], 0
        return kept, fact or ("respond raised several exceptions" if len(kept) > 1 else "respond raised an exception")
