"""What the instrumented server does on one connection: each behaviour is a script.

Uses a `ClientConnection` only. After its reply a behaviour continues as a plain echo, so that a client that sends more
still gets replies.
"""

from collections.abc import Callable

from halloo._check.client.loop import Script
from halloo._check.client.server import Behaviour, ClientConnection


def echo(connection: ClientConnection) -> Script:
    """Echo everything immediately."""
    connection.echo()
    yield 0


def pieces_reply(
    cut: Callable[[bytes], list[bytes]], pause: float, expect_partial: Callable[[bool], None]
) -> Behaviour:
    """Reply in pieces, `pause` seconds apart; calls `expect_partial(True)`, and `(False)` before the last."""

    def behaviour(connection: ClientConnection) -> Script:
        parts = cut((yield from connection.receive_message()))
        expect_partial(True)
        for piece in parts[:-1]:
            connection.send(piece)
            yield pause
        expect_partial(False)
        connection.send(b"".join(parts[-1:]))
        connection.echo()

    return behaviour


def late_reply(seconds: float) -> Behaviour:
    """Reply after a delay in seconds."""

    def behaviour(connection: ClientConnection) -> Script:
        message = yield from connection.receive_message()
        yield seconds
        connection.send(message)
        connection.echo()

    return behaviour


def half_then_eof(connection: ClientConnection) -> Script:
    """Send half of the reply, then end of file."""
    message = yield from connection.receive_message()
    connection.send(message[: len(message) // 2])
    connection.shutdown_write()


def half_then_reset(connection: ClientConnection) -> Script:
    """Send half of the reply and, once it is acknowledged, a reset."""
    message = yield from connection.receive_message()
    connection.send(message[: len(message) // 2])
    yield lambda: connection.acknowledged
    yield 0.1
    connection.reset()


def silent(_: ClientConnection) -> Script:
    """Read everything and send nothing."""
    yield 0


def wrong_reply(change: Callable[[bytes], bytes]) -> Behaviour:
    """Reply with the message as altered by `change`."""

    def behaviour(connection: ClientConnection) -> Script:
        connection.send(change((yield from connection.receive_message())))
        connection.echo()

    return behaviour


def eof_at_once(connection: ClientConnection) -> Script:
    """Close the sending side immediately."""
    connection.shutdown_write()
    yield 0


def reset_at_once(connection: ClientConnection) -> Script:
    """Reset 50 ms after the connection is accepted, so that the client can see it as connected."""
    yield 0.05
    connection.reset()


def greet(line: bytes) -> Behaviour:
    """Send a line first, then echo."""

    def behaviour(connection: ClientConnection) -> Script:
        connection.send(line)
        yield 0.1  # so that it arrives as a segment of its own
        connection.echo()

    return behaviour


def echo_bounded(max_pending: int) -> Behaviour:
    """Echo, with at most `max_pending` unsent bytes."""

    def behaviour(connection: ClientConnection) -> Script:
        connection.echo(max_pending=max_pending)
        yield 0

    return behaviour


def echo_slowly(rate: int, step: float = 0.02) -> Behaviour:
    """Echo at `rate` bytes a second, but read without a limit."""

    def behaviour(connection: ClientConnection) -> Script:
        quota = int(rate * step)
        while True:
            pending = connection.received[len(connection.queued) : len(connection.queued) + quota]
            if connection.end and not pending:
                connection.shutdown_write()
                return
            if pending:
                connection.send(pending)
                yield step
            else:
                yield lambda: len(connection.received) > len(connection.queued) or bool(connection.end)

    return behaviour


def stop_reading(connection: ClientConnection) -> Script:
    """Read nothing until the case resumes reading."""
    connection.set_reading(enabled=False)
    yield 0


def echo_part(size: int) -> Behaviour:
    """Echo `size` bytes and close the sending side; reset a second later with the rest unread."""

    def behaviour(connection: ClientConnection) -> Script:
        connection.echo()
        yield lambda: len(connection.received) >= size or bool(connection.end)
        connection.set_reading(enabled=False)
        connection.shutdown_write()
        yield 1.0
        connection.reset()

    return behaviour


def reply_then_reset(connection: ClientConnection) -> Script:
    """Reply and, once the client has read all of it, reset instead of closing."""
    message = yield from connection.receive_message()
    yield 0.05  # the line end may still be in transit
    connection.send(message + connection.take_rest())
    yield lambda: connection.read_by_client
    yield 0.1
    connection.reset()
