"""What the instrumented server does to one connection: each act is a script that reads like its sentence.

Knows a peer. After its answer every act goes on as a plain echo, so that a client that talks on is not left alone.
"""

from collections.abc import Callable

from halloo._check.client.loop import Script
from halloo._check.client.server import Act, Peer


def echo(peer: Peer) -> Script:
    """Send everything back at once."""
    peer.echo()
    yield 0


def pieces(cut: Callable[[bytes], list[bytes]], pause: float, partly: Callable[[bool], None]) -> Act:
    """Answer in pieces, so many seconds apart; `partly` is told that this begins, and that the last is next."""

    def act(peer: Peer) -> Script:
        answer = cut((yield from peer.message()))
        partly(True)
        for piece in answer[:-1]:
            peer.give(piece)
            yield pause
        partly(False)
        peer.give(b"".join(answer[-1:]))
        peer.echo()

    return act


def late(seconds: float) -> Act:
    """Answer after so many seconds."""

    def act(peer: Peer) -> Script:
        message = yield from peer.message()
        yield seconds
        peer.give(message)
        peer.echo()

    return act


def half(peer: Peer) -> Script:
    """Give half the answer and the end."""
    message = yield from peer.message()
    peer.give(message[: len(message) // 2])
    peer.finish()


def half_reset(peer: Peer) -> Script:
    """Give half the answer and, when it has arrived, a reset."""
    message = yield from peer.message()
    peer.give(message[: len(message) // 2])
    yield lambda: peer.flushed
    yield 0.1
    peer.reset()


def silent(_: Peer) -> Script:
    """Read everything and answer nothing."""
    yield 0


def wrong(change: Callable[[bytes], bytes]) -> Act:
    """Answer with something else than what was sent."""

    def act(peer: Peer) -> Script:
        peer.give(change((yield from peer.message())))
        peer.echo()

    return act


def end(peer: Peer) -> Script:
    """End at once."""
    peer.finish()
    yield 0


def reset(peer: Peer) -> Script:
    """Reset as soon as the client can know that it has connected."""
    yield 0.05
    peer.reset()


def greet(line: bytes) -> Act:
    """Say something first."""

    def act(peer: Peer) -> Script:
        peer.give(line)
        yield 0.1  # so that it arrives alone
        peer.echo()

    return act


def narrow(room: int) -> Act:
    """Echo, owing no more than so many bytes."""

    def act(peer: Peer) -> Script:
        peer.echo(room=room)
        yield 0

    return act


def slow(rate: int, step: float = 0.02) -> Act:
    """Echo so many bytes a second, reading as fast as they come."""

    def act(peer: Peer) -> Script:
        quota = int(rate * step)
        while True:
            owed = peer.received[len(peer.given) : len(peer.given) + quota]
            if peer.end and not owed:
                peer.finish()
                return
            if owed:
                peer.give(owed)
            yield step if owed else (lambda: len(peer.received) > len(peer.given) or bool(peer.end))

    return act


def deaf(peer: Peer) -> Script:
    """Read nothing until the case says so."""
    peer.read(on=False)
    yield 0


def give_up(size: int) -> Act:
    """Echo so many bytes, end, and later be gone, with the rest unread."""

    def act(peer: Peer) -> Script:
        peer.echo()
        yield lambda: len(peer.received) >= size or bool(peer.end)
        peer.read(on=False)
        peer.finish()
        yield 1.0
        peer.reset()

    return act


def then_reset(peer: Peer) -> Script:
    """Answer and, when the client has taken all of it, reset instead of the end."""
    message = yield from peer.message()
    yield 0.05  # the end of the line may be on its way
    peer.give(message + peer.rest())
    yield lambda: peer.taken
    yield 0.1
    peer.reset()
