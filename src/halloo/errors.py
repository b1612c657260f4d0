"""Say what went wrong, whose doing it was, and what to do next.

Knows sentences and exit codes. Knows no socket: whoever meets an error of the system puts it into these words.

    HallooError
      UsageError   the caller asked for something that cannot be   exit 2
      PeerError    the far end, or the way to it, failed           exit 1
      LocalError   this machine would not do it                    exit 2
"""

from typing import ClassVar


class HallooError(Exception):
    """Root of everything halloo raises: a fact, and the remedy as the next step."""

    blame: ClassVar[str] = "local"
    exit_code: ClassVar[int] = 2

    def __init__(self, fact: str, remedy: str = "", *, address: str | None = None, errno: int | None = None) -> None:
        """Keep the facts apart; `str()` makes the sentence.

        `address` is the one in question as the user would write it, `errno` the system's number where it gave one.
        """
        super().__init__(fact)
        self.fact = fact
        self.remedy = remedy
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
    """The far end, or the network on the way, failed."""

    blame = "peer"
    exit_code = 1


class LocalError(HallooError, OSError):
    """This machine would not do it."""


class AddressError(UsageError):
    """The text is not an address."""


class UnitError(UsageError):
    """The text is not a duration, size, count or rate."""


class Unsupported(UsageError, NotImplementedError):  # noqa: N818 - it reads as a sentence: raise Unsupported
    """Named correctly, but not there, in this version or on this system."""


class UnknownHost(PeerError):  # noqa: N818 - as above
    """No address is known for the name (getaddrinfo(3))."""


class Unreachable(PeerError):  # noqa: N818 - as above
    """No route leads to the host."""


class Refused(PeerError, ConnectionRefusedError):  # noqa: N818 - as above
    """The peer's host answered that nothing listens on the port (ECONNREFUSED)."""


class Reset(PeerError, ConnectionResetError):  # noqa: N818 - as above
    """The peer ended the connection abruptly (ECONNRESET, EPIPE); unread data may be lost."""


class TimedOut(PeerError, TimeoutError):  # noqa: N818 - as above
    """Nothing happened within the time allowed."""


class IncompleteRead(PeerError, EOFError):  # noqa: N818 - as above
    """The peer ended the stream before all of it had come. `partial` holds what did."""

    partial: bytes = b""


class Truncated(PeerError):  # noqa: N818 - as above
    """The peer's datagram is longer than there was room for. `partial` holds its beginning."""

    partial: bytes = b""


class Untrusted(PeerError):  # noqa: N818 - as above
    """One end does not believe the other's certificate, or was shown none (TLS)."""


class MessageTooLong(PeerError):  # noqa: N818 - as above
    """The peer's message is longer than the framing allows."""


class AddressInUse(LocalError):  # noqa: N818 - as above
    """Somebody else listens on the port (EADDRINUSE)."""


class NotPermitted(LocalError, PermissionError):  # noqa: N818 - as above
    """The system forbids it to this user (EACCES, EPERM)."""


class AddressNotAvailable(LocalError):  # noqa: N818 - as above
    """The address to listen on belongs to no interface of this machine (EADDRNOTAVAIL)."""
