"""Serve a few pages over HTTP from the loop: as much of RFC 9112 as a scraper or a health check needs.

GET and HEAD, one request a connection; for more, put a proxy in front.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from halloo._core.limits import Limits
from halloo._server.exchange import Exchange

MAX_HEAD = 16 * 1024  # bytes of a request's headers
# A scraper is done in much less, and half a request would otherwise be kept for ever.
LIMITS = Limits(max_lifetime=30.0, max_connections=100)
_END = re.compile(rb"\n\r?\n")  # of the headers; a line may end without its carriage return (RFC 9112, 2.2)
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Headers Too Large"}

Page = Callable[[], tuple[str, bytes]]  # returns the media type and the content


def limits_beside(server: Limits) -> Limits:
    """Return the limits of the pages beside a server: clients that it denies are denied here too."""
    return replace(LIMITS, deny=server.deny)


class HttpHandler:
    """A handler for the loop: pages by path."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._heads: dict[int, bytearray] = {}

    def opened(self, exchange: Exchange, fd: int) -> None:  # noqa: ARG002 - Handler's signature
        self._heads[fd] = bytearray()

    def readable(self, exchange: Exchange, fd: int) -> None:
        """Read the request headers, and answer once they are complete."""
        chunk = exchange.receive(fd)
        if chunk is None:
            return
        head = self._heads[fd]
        searched = len(head)
        head += chunk
        if _END.search(head, max(searched - 2, 0), MAX_HEAD):
            self._respond(exchange, fd, bytes(head))
        elif len(head) >= MAX_HEAD:
            self._answer(exchange, fd, 431)
        elif not chunk:
            exchange.end(fd)

    def writable(self, exchange: Exchange, fd: int) -> None:
        """Close the connection: the answer is sent."""
        exchange.linger(fd, "answered")

    def closed(self, fd: int) -> None:
        self._heads.pop(fd, None)

    def _respond(self, exchange: Exchange, fd: int, request: bytes) -> None:
        method, _, rest = request.split(b"\n", 1)[0].removesuffix(b"\r").decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1.") or " " in version:
            self._answer(exchange, fd, 400, b"not an HTTP/1.1 request\n")
        elif method not in ("GET", "HEAD"):
            self._answer(exchange, fd, 405, b"only GET and HEAD are supported\n")
        elif page := self._pages.get(target.partition("?")[0]):
            content_type, body = page()
            self._answer(exchange, fd, 200, body, content_type, head_only=method == "HEAD")
        else:
            body = f"available: {', '.join(self._pages)}\n".encode()
            self._answer(exchange, fd, 404, body, head_only=method == "HEAD")

    def _answer(
        self,
        exchange: Exchange,
        fd: int,
        code: int,
        body: bytes = b"",
        content_type: str = "text/plain",
        *,
        head_only: bool = False,
    ) -> None:
        head = (
            f"HTTP/1.1 {code} {REASONS[code]}\r\n"
            f"Content-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        self._heads[fd].clear()  # the client may take its time to read
        if exchange.send(fd, head if head_only else head + body):
            self.writable(exchange, fd)
