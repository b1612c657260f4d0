"""The errors: what failed, which side failed, and what to do next. Each is kin of one of the standard library.

    HallooError
      UsageError   the caller asked for something impossible   exit 2
      PeerError    the peer, or the network between, failed    exit 1
      LocalError   this machine refused                        exit 2

TlsError and Untrusted are in `_net.tls_errors`: the ssl module, whose kin they are, is slow to import.
"""

import socket
from typing import ClassVar


def one_line(text: str) -> str:
    """Escape what is not printable: the names and paths in a message may contain newlines and terminal codes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


MAX_TEXT = 1000  # characters of a message; eight addresses, each with its reason, have room
_BEGINNING, _END = 600, 200


def shortened(text: str) -> str:
    """Leave out the middle of a long text: names and values in a message may have any length."""
    return text if len(text) <= MAX_TEXT else f"{text[:_BEGINNING]}...{text[-_END:]}"


class HallooError(Exception):
    """Root of everything that halloo raises: `fact` says what happened, `remedy` what to do next.

    `partial` holds the bytes that an interrupted read had received, `sent` counts those that an interrupted write had
    handed over; both are empty for other calls.
    """

    blame: ClassVar[str] = "local"
    exit_code: ClassVar[int] = 2
    partial: bytes = b""
    sent: int = 0

    def __init__(self, fact: str, remedy: str = "", *, address: str | None = None, errno: int | None = None) -> None:
        """Keep the parts; `str()` makes the sentence.

        `address` is the one in question as the user would write it, `errno` the system's number where there is one.
        """
        self.fact = shortened(one_line(fact))
        self.remedy = shortened(one_line(remedy))
        super().__init__(self.fact)
        self.address = address
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        # OSError keeps errno in a slot, which pickling and copying would lose.
        return (type(self), (self.fact, self.remedy), {**self.__dict__, "errno": self.errno})

    def __str__(self) -> str:
        return f"{self.fact}; {self.remedy}" if self.remedy else self.fact


class UsageError(HallooError, ValueError):
    """The caller asked for something impossible: a wrong type, range, combination or state.

    Where one argument is at fault, `argument` names it and begins the sentence; the command names its flag instead.
    """

    blame = "usage"

    def __init__(
        self, fact: str, remedy: str = "", *, argument: str = "", address: str | None = None, errno: int | None = None
    ) -> None:
        """Say what is wrong with the argument: `UsageError("must be positive, not -1", argument="timeout")`."""
        super().__init__(fact, remedy, address=address, errno=errno)
        self.argument = argument

    def __str__(self) -> str:
        return f"{self.argument} {super().__str__()}" if self.argument else super().__str__()


class PeerError(HallooError, OSError):
    """The peer, or the network between, failed."""

    blame = "peer"
    exit_code = 1


class LocalError(HallooError, OSError):
    """This machine refused."""


class AddressError(UsageError):
    """The text is not an address."""


class UnitError(UsageError):
    """The text is not a duration, size, count or rate."""


class Unsupported(UsageError, NotImplementedError):  # noqa: N818 - it reads as a sentence: raise Unsupported
    """Not available in this version or on this system."""


class UnknownHost(PeerError, socket.gaierror):  # noqa: N818 - as above
    """The name has no address (getaddrinfo(3))."""


class Unreachable(PeerError):  # noqa: N818 - as above
    """No route leads to the host (EHOSTUNREACH, ENETUNREACH)."""


class Refused(PeerError, ConnectionRefusedError):  # noqa: N818 - as above
    """Nothing listens on the port (ECONNREFUSED)."""


class Reset(PeerError, ConnectionResetError):  # noqa: N818 - as above
    """The peer ended the connection abruptly (ECONNRESET, EPIPE); data may be lost."""


class TimedOut(PeerError, TimeoutError):  # noqa: N818 - as above
    """The call made no progress within its timeout, or did not end within its deadline."""


class IncompleteRead(PeerError, EOFError):  # noqa: N818 - as above
    """The peer ended the stream early; `partial` holds what it had sent."""


class Truncated(PeerError):  # noqa: N818 - as above
    """The peer's datagram is longer than the limit; `partial` holds its beginning."""


class MessageTooLong(PeerError):  # noqa: N818 - as above
    """The peer's message is longer than the limit of the framing."""


class AddressInUse(LocalError):  # noqa: N818 - as above
    """Another socket is bound to the address (EADDRINUSE)."""


class AddressNotAvailable(LocalError):  # noqa: N818 - as above
    """No interface has the address to listen on, or no port is free for a connection (EADDRNOTAVAIL, EADDRINUSE)."""


class NotPermitted(LocalError, PermissionError):  # noqa: N818 - as above
    """The system does not permit it to this user (EACCES, EPERM)."""


class MissingFile(LocalError, FileNotFoundError):  # noqa: N818 - as above
    """A file that was named does not exist (ENOENT)."""


class ConnectionClosed(LocalError, ConnectionAbortedError):  # noqa: N818 - as above
    """This side has closed or aborted the connection, perhaps while another thread used it."""
