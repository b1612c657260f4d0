"""Reload the certificate files of a server, for connections accepted from then on.

A signal requests it, and the loop performs it between two turns. Files that cannot be used change nothing.
"""

import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from halloo._net.listener import Listener
from halloo._net.signals import RELOADING, Handler
from halloo._server.log import Event, Report
from halloo.errors import HallooError

if TYPE_CHECKING:
    from ssl import SSLContext


class Reload:
    """Reads the files of a listener again, if it has any."""

    def __init__(self, listener: Listener, replace: Callable[["SSLContext"], object], report: Report) -> None:
        """Pass each new context to `replace`, and the outcome to `report`."""
        self._listener, self._replace, self._report = listener, replace, report
        self._requested = False
        self.handlers: dict[signal.Signals, Handler] = {}  # none where nothing can be reloaded
        if listener.reloadable:
            self.handlers = dict.fromkeys(RELOADING, self.request)

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Request it: a signal handler, which may run in the middle of a turn."""
        self._requested = self._listener.reloadable

    def perform(self) -> None:
        """Reload, if that was requested."""
        if not self._requested:
            return
        self._requested = False
        try:
            self._listener.reload()
        except HallooError as error:
            text = f"halloo: {error.fact}; the certificate in use stays; correct the file and send SIGHUP again"
            self._report(Event("reload_failed", text, message=error.fact))
        else:
            self._replace(self._listener.tls_server.context)
            self._report(Event("reloaded"))
