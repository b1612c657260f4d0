"""Calls that block: wait until one does, and what has to follow one that timed out."""

from concurrent.futures import ThreadPoolExecutor

from halloo._net.connection import ConnectedSocket, Connection
from halloo._net.listener import Listener
from halloo.errors import TimedOut


def until_blocked(waiting: ConnectedSocket | Listener) -> None:
    """Return once a call of another thread waits."""
    while waiting._interrupt._pair is None:
        pass


def check_message_after_timeout(near: Connection, far: Connection) -> None:
    """Fill the way to a peer that does not read, then send one more message, and compare all that it reads later."""
    total, message = 0, b"a" * 20_000
    while True:
        try:
            near.send(message, timeout=0.1)
        except TimedOut as error:
            total += error.sent
            break
        total += len(message)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: b"".join(far))
        near.send(b"QUIT\r\n")
        near.send_eof()
        received = reading.result()
    assert received[-6:] == b"QUIT\r\n"
    assert received[:-6] == b"a" * total
