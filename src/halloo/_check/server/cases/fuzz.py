"""A randomised stream case: clients do anything that a client may do, as the seed decides.

Uses clients. The same seed makes the same choices, but the timing of the network may differ.
"""

from contextlib import ExitStack
from random import Random

from halloo._check.case import Failed, context
from halloo._check.payload import MIB, payload
from halloo._check.server.many_clients import Poller
from halloo._check.server.stream_client import STALL_TIMEOUT, StreamClient
from halloo._check.server.target import ServerTarget, case

CLIENTS = 20
ACTIONS = ("send", "send", "send", "send", "pause", "stop-reading", "half-close", "reset", "close")
WEIGHTS = (30, 30, 30, 30, 20, 10, 3, 2, 1)


class FuzzClient:
    """A client with random actions, which checks every byte that it receives."""

    def __init__(self, client: StreamClient, stream: int, random: Random) -> None:
        """Take a connection; `stream` is the number of its payload."""
        self.client = client
        self._data = payload(MIB, stream)
        self._random = random
        self._paused_until = self._not_reading_until = self._last_progress = client.clock()
        self._half_closed = False

    def act(self) -> bool:
        """Do something random, unless paused; False if the connection has been closed."""
        now = self.client.clock()
        if self._half_closed or now < self._paused_until:
            return True
        action = self._random.choices(ACTIONS, WEIGHTS)[0]
        size = min(self._random.choice((1, 7, 64, 1460, 5000, 50_000)), MIB - self.client.sent)
        pause = self._random.random() * 0.2
        if action == "send" and size:
            if self.client.send_some(self._data[self.client.sent : self.client.sent + size]):
                self._last_progress = now
        elif action == "pause":
            self._paused_until = now + pause
        elif action == "stop-reading":
            self._not_reading_until = now + pause
        elif action == "half-close" or not size:
            self.client.half_close()
            self._half_closed = True
        elif action in ("reset", "close"):
            if action == "reset":
                self.client.reset()
            return False
        return True

    def receive(self) -> bool:
        """Receive and compare what is available; False at the end of the stream, if that is complete."""
        now, received = self.client.clock(), self.client.received
        if now < self._not_reading_until:
            self._last_progress = now
            return True
        count = self.client.receive_part(self._data, received)
        if count is None:
            if now - self._last_progress > STALL_TIMEOUT and (self._half_closed or received < self.client.sent):
                fact = f"{self.client.sent:,} bytes sent, {received:,} back, then nothing for {STALL_TIMEOUT:g} s"
                raise Failed(fact, pattern="short")
            return True
        if not count and (not self._half_closed or received != self.client.sent):
            fact = f"{self.client.sent:,} bytes sent, {received:,} back, then the end of the stream"
            raise Failed(fact, pattern="cut")
        self._last_progress = now
        return bool(count)

    def finish(self) -> None:
        """Half-close, unless that was done, and check the rest of the stream."""
        if not self._half_closed:
            self.client.half_close()
        rest = self._data[self.client.received : self.client.sent]
        self.client.expect(rest, STALL_TIMEOUT, quiet_time=0)
        self.client.expect_eof()


@case(
    "SHOULD",
    "every stream that was not aborted is identical",
    "clients send, pause and leave at any time",
    "T10 T13 T18 T20 T48",
    kill=60,
)
def t50_fuzz(target: ServerTarget) -> str:
    """20 clients send, pause, half-close and reset at random for 5 s (30 s in the longer form)."""
    target.require_plain_echo()
    random, streams, echoed = target.random(), 0, 0
    ends = target.clock() + (30 if target.longer else 5)
    clients: list[FuzzClient] = []
    with ExitStack() as stack, context(f"with seed {target.seed}"):
        while target.clock() < ends:
            while len(clients) < CLIENTS:
                clients.append(FuzzClient(stack.enter_context(target.connect()), streams % 4096, random))
                streams += 1
            Poller(player.client for player in clients).ready(0.01)
            for player in clients.copy():
                if not (player.act() and player.receive()):
                    clients.remove(player)
                    echoed += player.client.received
                    player.client.close()
        for player in clients:
            player.finish()
            echoed += player.client.received
    target.check_served()
    return f"{streams:,} connections, {echoed / MIB:,.1f} MiB, seed {target.seed}"
