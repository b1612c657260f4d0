"""Messages of a protocol that is not lines of text, such as numbers packed by `struct`, or lengths before data.

Uses the function that the user has given; no sockets and no processes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from halloo.errors import UsageError


class Request(bytes):
    """The bytes of a request, which know the reply to it."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, what comes back, and what is typed at a client that sends it."""

    request: bytes
    reply: bytes
    typed: str = ""


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages that a function makes of 0, 1, 2, ..., and its name on the command line.

    The function returns the request; or the request and its reply; or both and what is typed at a client. A reply that
    it does not return is `expect` of the request: by default the same bytes.
    """

    name: str
    function: Callable[[int], object]
    expect: Callable[[bytes], bytes] = bytes

    def __post_init__(self) -> None:
        """Check the first message, before anything is started. Raises UsageError."""
        self.message(0)

    def __str__(self) -> str:
        return self.name

    def message(self, number: int) -> Message:
        """Return the message of a number. Raises UsageError."""
        try:
            made = self.function(number)
            match made:
                case bytes(request) if request:
                    return Message(request, bytes(self.expect(request)))
                case (bytes(request), bytes(reply)) if request:
                    return Message(request, reply)
                case (bytes(request), bytes(reply), str(typed)) if request:
                    return Message(request, reply, typed)
        except Exception as error:  # what the function raises is its own
            raise UsageError(
                f"{self.name}({number}) failed ({error!r})", "let it make a message of any number"
            ) from error
        raise UsageError(
            f"{self.name}({number}) returned {made!r}", "let it return a request, or (request, reply), as bytes"
        )

    def request(self, number: int) -> Request:
        message = self.message(number)
        request = Request(message.request)
        request.reply = message.reply
        return request

    def reply_to(self, request: bytes, among: int = 64) -> bytes | None:
        """Return the reply to one of the first requests; None for other bytes."""
        found = (message for message in map(self.message, range(among)) if message.request == request)
        return next((message.reply for message in found), None)
