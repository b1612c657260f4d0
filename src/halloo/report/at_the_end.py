"""Write a ping's report when all is known, and not before.

Knows a stream. What is written there is for others to say.
"""

from collections.abc import Callable
from typing import TextIO

from halloo.core.roundtrips import PingReport, Probed


class AtTheEnd:
    """A sink of `halloo.commands.ping`."""

    def __init__(self, stream: TextIO, write: Callable[[PingReport, TextIO], object]) -> None:
        """Have `write` put the report on a stream."""
        self._stream = stream
        self._write = write

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        """Write nothing yet."""

    def probe(self, event: Probed) -> None:
        """Write nothing: the report has the sum of them."""

    def interim(self, report: PingReport) -> None:
        """Write nothing: half a report beside the whole one would be two."""

    def end(self, report: PingReport) -> None:
        """Write it."""
        self._write(report, self._stream)
        self._stream.flush()
