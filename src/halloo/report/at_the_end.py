"""What sinks have in common that write when all is known, and not before.

Knows a stream. What is written is for those who make one of it to say.
"""

from collections.abc import Callable
from typing import TextIO

from halloo.core.roundtrips import PingReport, Probed


class AtTheEnd:
    """A sink of `halloo.commands.ping`."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream = stream

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        """Write nothing yet."""

    def probe(self, event: Probed) -> None:
        """Write nothing: the report has the sum of them."""

    def interim(self, report: PingReport) -> None:
        """Write nothing: half a report beside the whole one would be two."""

    def end(self, report: PingReport) -> None:
        """Write it."""
        self.write(report, self._stream)
        self._stream.flush()

    def write(self, report: PingReport, stream: TextIO) -> None:
        """Write a report to a stream."""
        raise NotImplementedError
