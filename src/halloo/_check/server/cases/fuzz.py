"""Cases of chance: clients that do anything a client may do, decided by the seed.

Knows clients. The same seed decides the same way, though the network may deliver it otherwise.
"""

from random import Random

from halloo._check.case import Failed, case
from halloo._check.payload import payload
from halloo._check.server.many_clients import Watch
from halloo._check.server.stream_client import STUCK, StreamClient, differs
from halloo._check.server.target import ServerTarget

MIB = 1024 * 1024
CLIENTS = 20
STEP = 0.01  # seconds
ACTS = ("send", "send", "send", "send", "pause", "deaf", "half-close", "reset", "close")
WEIGHTS = (30, 30, 30, 30, 20, 10, 3, 2, 1)


class Player:
    """One client of the fuzz: what it has sent, what it has still to see, and whether it listens."""

    def __init__(self, client: StreamClient, stream: int, chance: Random) -> None:
        """Begin with a connection; `stream` is what its bytes say of it."""
        self.client = client
        self._data = payload(MIB, stream)
        self._chance = chance
        self._until = self._deaf_until = client.clock()
        self._moved = client.clock()
        self._finished = False

    def act(self) -> bool:
        """Do something, unless it pauses; False when the connection is over."""
        now = self.client.clock()
        if self._finished or now < self._until:
            return True
        act = self._chance.choices(ACTS, WEIGHTS)[0]
        size = min(self._chance.choice((1, 7, 64, 1460, 5000, 50_000)), MIB - self.client.sent)
        pause = self._chance.random() * 0.2
        if act == "send" and size:
            if self.client.give(self._data[self.client.sent : self.client.sent + size]):
                self._moved = now
        elif act == "pause":
            self._until = now + pause
        elif act == "deaf":
            self._deaf_until = now + pause
        elif act == "half-close" or not size:
            self.client.half_close()
            self._finished = True
        elif act == "reset":
            self.client.reset()
            return False
        elif act == "close":
            self.client.close()
            return False
        return True

    def hear(self) -> bool:
        """Receive and compare what is there; False at the end of the stream, where all must have come."""
        now, came = self.client.clock(), self.client.received
        if now < self._deaf_until:
            self._moved = now
            return True
        piece = self.client.take()
        if piece is None:
            if now - self._moved > STUCK and (self._finished or came < self.client.sent):
                raise Failed(
                    f"{self.client.sent:,} bytes sent, {came:,} back, then {STUCK:g} s nothing", pattern="short"
                )
            return True
        if piece != self._data[came : came + len(piece)]:
            raise differs(self._data[came : came + len(piece)], piece, came)
        if not piece and (not self._finished or came != self.client.sent):
            raise Failed(f"{self.client.sent:,} bytes sent, {came:,} back, then the end of the stream", pattern="cut")
        self._moved = now
        return bool(piece)

    def settle(self) -> None:
        """Send the end, if that was not done, and see all of the rest come."""
        if not self._finished:
            self.client.half_close()
        rest = self._data[self.client.received : self.client.sent]
        self.client.expect(rest, STUCK, surplus=0)
        self.client.end()


@case(
    passes="every stream that survives is identical",
    severity="SHOULD",
    source="toxiproxy; Autobahn",
    needs=("T10", "T13", "T18", "T20", "T48"),
    kill=60,
    waits=True,
    longer=True,
)
def t50_fuzz(target: ServerTarget) -> str:
    """20 clients send, pause, half-close and reset by chance for 5 s (30 s in the longer form)."""
    target.plain()
    chance, streams, echoed = target.chance(), 0, 0
    ends = target.clock() + (30 if target.longer else 5)
    players: list[Player] = []
    try:
        while target.clock() < ends:
            while len(players) < CLIENTS:
                players.append(Player(target.dial(), streams % 4096, chance))
                streams += 1
            Watch(player.client for player in players).ready(STEP)
            for player in players.copy():
                if not (player.act() and player.hear()):
                    players.remove(player)
                    echoed += player.client.received
                    player.client.close()
        for player in players:
            player.settle()
            echoed += player.client.received
    except Failed as failure:
        raise failure.within(f"with seed {target.seed}") from failure
    finally:
        for player in players:
            player.client.close()
    target.served()
    return f"{streams:,} connections, {echoed / MIB:,.1f} MiB, seed {target.seed}"
