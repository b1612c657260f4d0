"""Tell an answer to a datagram from a copy of an earlier answer, which a network may make too.

Knows what was sent and what came back. An echo's answers can be recognised; any other peer's are all taken for answers.
"""

from collections import deque

RECENT = 1024  # datagrams that are remembered each way


class Copies:
    """What was sent lately and not answered, and what was answered."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        # Hashes: the datagrams themselves might be 64 MB.
        self._owed: deque[int] = deque(maxlen=RECENT)
        self._answered: deque[int] = deque(maxlen=RECENT)
        self._echo = True

    def send(self, datagram: bytes) -> None:
        """Note what was sent."""
        self._owed.append(hash(datagram))

    def receive(self, answer: bytes) -> bool:
        """Note what came, and say whether it is a copy: an echo of what was answered already, and is not owed again."""
        mark = hash(answer)
        if mark in self._owed:
            self._owed.remove(mark)
            self._answered.append(mark)
            return False
        copied = self._echo and mark in self._answered
        self._echo = copied  # an answer that was never sent is not an echo's
        return copied
