"""Run a server in this process, and give it one client, after which it stops.

Uses a signal, so it is for the main thread.
"""

import io
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

LISTENING = re.compile(r"listening on \w+://127\.0\.0\.1:(\d+)\n")
REQUEST = b"GET / HTTP/1.1\r\n\r\n"  # more than a TLS handshake begins with, and not one


class VisitedOutput(io.StringIO):
    """Standard output or error of a server: the address that is written to it gets a client, if it is on 127.0.0.1.

    With `stop` the server then gets a SIGTERM.
    """

    def __init__(self, *, stop: bool) -> None:
        super().__init__()
        self._stop = stop
        self._visits: list[threading.Thread] = []

    def write(self, text: str) -> int:
        super().write(text)
        if "listening on " in self.getvalue() and text.endswith("\n") and not self._visits:
            self._visits.append(threading.Thread(target=self._visit, name="visit"))
            self._visits[0].start()
        return len(text)

    def end(self) -> None:
        """Wait until the client has gone, and the signal has come."""
        for visit in self._visits:
            visit.join()

    def _visit(self) -> None:
        with suppress(OSError):
            if found := LISTENING.search(self.getvalue()):
                with socket.create_connection(("127.0.0.1", int(found[1])), timeout=1) as client:
                    client.sendall(REQUEST)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1)
        if self._stop:
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def late_signals_ignored() -> Iterator[None]:
    """Keep a SIGTERM that comes when the server has ended by itself from ending the tests."""
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def odd_files(folder: Path, certificate: bytes) -> Iterator[None]:
    """Work in a folder with a file of each kind, and with nothing on standard input."""
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "certificate").write_bytes(certificate)
    with pytest.MonkeyPatch.context() as patch, (folder / "empty").open() as nothing, late_signals_ignored():
        patch.chdir(folder)
        patch.setattr(sys, "stdin", nothing)
        yield
