"""The output of a program, read while it runs, so that it never waits for a reader; its first and last bytes are kept.

Uses a pipe and a thread.
"""

import fcntl
import os
import select
import threading
from contextlib import suppress

KEPT = 64 * 1024  # bytes kept of the beginning, and of the end
PIPE_SIZE = 1 << 20  # bytes that the program can write before it waits: what an unprivileged user may ask for
_CHUNK = 1 << 16


class OutputPipe:
    """A pipe for the output of one or more processes: `writer` is their standard output and error."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._closed, self._closer = os.pipe()
        os.set_blocking(self._reader, False)
        with suppress(OSError):  # this user has too many pipes of that size
            fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._first, self._last, self._total = bytearray(), bytearray(), 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read_until_closed, name="halloo output", daemon=True)
        self._thread.start()

    def _read_until_closed(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.register(self._closed, 0)  # only for its end
        while self._closed not in dict(poll.poll()):
            self._read()

    def _read(self) -> int:
        """Read what there is, up to a limit; return the number of bytes."""
        with self._lock:
            try:
                data = os.read(self._reader, _CHUNK)
            except BlockingIOError:
                return 0
            room = KEPT - len(self._first)
            self._first += data[:room]
            self._last += data[room:]
            del self._last[:-KEPT]
            self._total += len(data)
            return len(data)

    @property
    def text(self) -> str:
        """What has been written so far, without its middle if it is long."""
        left = PIPE_SIZE
        while left > 0 and (count := self._read()):  # what was written before this call; a program may write for ever
            left -= count
        with self._lock:
            missing = self._total - len(self._first) - len(self._last)
            gap = b"\n... %d bytes ...\n" % missing if missing else b""
            return (self._first + gap + self._last).decode(errors="replace")

    def clear(self) -> None:
        """Forget what has been written so far."""
        _ = self.text
        with self._lock:
            self._first, self._last, self._total = bytearray(), bytearray(), 0

    def close(self) -> None:
        """Stop reading, whatever process still holds the pipe."""
        os.close(self._closer)
        self._thread.join()
        for fd in (self._reader, self.writer, self._closed):
            os.close(fd)
