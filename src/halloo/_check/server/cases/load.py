"""Cases of load: what a server uses when it is idle, pushed, or asked by many, and who has to wait for it.

Knows clients' sockets, and what the system tells of the server.
"""

import socket
from statistics import median

from halloo._check import processes
from halloo._check.case import Failed, Skipped, case
from halloo._check.payload import payload
from halloo._check.server.many_clients import Watch, many_clients, p99
from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget

KIB, MIB = 1024, 1024 * 1024
IDLE = 0.10  # of a core
MANY = 1000  # clients
FRESH = 1.0  # seconds within which a new client has to be served
SMALL_BUFFER = 4 * KIB  # so that what is stalled is the server's, not memory of ours
OWN_BUFFER = 64 * KIB
ENOUGH = 4 * MIB  # a server that has taken this from a client that does not read will not push back soon
SETTLED = 0.2  # seconds
FAIR = 0.05  # seconds
TRIES = 3  # a machine that is busy may stand still for a moment, an unfair server is unfair each time


@case(
    passes="pushed back; memory grows by 16 MiB at most",
    needs=("T05", "T35"),
    severity="SHOULD",
    source="uvicorn#23; asyncio flow control",
    waits=True,
    process=True,
)
def t16_backpressure(target: ServerTarget) -> str:
    """Send up to 192 MiB without reading anything."""
    target.served()
    before, data, sent = target.program.owned(), payload(MIB), 0
    with target.dial() as client:
        while sent < 192 * MIB and (count := client.push(data[sent % MIB :], 1.0)):
            sent += count
        grown = (target.program.owned() - before) / MIB
        if sent >= 192 * MIB:
            raise Failed(f"{sent / MIB:.0f} MiB were taken from a client that reads nothing; memory +{grown:.1f} MiB")
    if grown > 16:
        raise Failed(f"memory grew by {grown:.1f} MiB for one client")
    return f"pushed back after {sent / MIB:.1f} MiB; memory +{grown:.1f} MiB"


@case(passes="KiB each", severity="INFO", source="—", needs=("T14",), process=True)
def t32_memory(target: ServerTarget) -> str:
    """Hold 500 idle clients."""
    target.served()
    before = target.program.owned()
    with many_clients(target, 500) as clients:
        clients[-1].ask(b"idle\n")
        return f"{(target.program.owned() - before) / KIB / 500:.2f} KiB each"


@case(
    passes="at most 10 % of a core", needs=("T13",), severity="SHOULD", source="busy polling", waits=True, process=True
)
def t36_idle_cpu(target: ServerTarget) -> str:
    """Watch the server for 1.5 s with ten idle clients."""
    with many_clients(target, 10) as clients:
        for client in clients:
            client.ask(b"idle\n", surplus=0)
        return _at_rest(target, 1.5)


@case(
    needs=("T05", "T35"),
    passes="at most 10 % of a core",
    severity="SHOULD",
    source="level-triggered end",
    waits=True,
    process=True,
    schemes=frozenset({"tcp"}),
)
def t37_eof_cpu(target: ServerTarget) -> str:
    """Watch the server while a client that has half-closed does not read its reply."""
    with target.dial(receive_buffer=SMALL_BUFFER) as client:
        # Enough that the server's send blocks, and little enough that its buffer has room for the end.
        data = payload(64 * KIB)
        while client.sent < ENOUGH and _reads(target, client):
            client.send(data)
        client.half_close()
        return _at_rest(target, 1.0)


def _reads(target: ServerTarget, client: StreamClient) -> bool:
    """Whether the server soon reads all that has come."""
    deadline = target.clock() + 0.2
    while target.clock() < deadline:
        if client.unacknowledged() == 0:  # to look there first is cheap
            entry = processes.served(target.port, client.port)
            if entry and entry.unread == 0:
                return True
        client.wait(0.005, read=False)
    return False


def _at_rest(target: ServerTarget, seconds: float) -> str:
    for _ in range(TRIES):  # some have things to do at first
        load = target.program.load(seconds)
        if load <= IDLE:
            return f"{load:.0%} of a core"
    raise Failed(f"{load:.0%} of a core", pattern="busy")


@case(
    passes="a new client within 1 s",
    severity="SHOULD",
    source="slowloris",
    needs=("T13", "T23"),
    waits=True,
    kill=40,
    alone=True,
)
def t39_trickle_1000(target: ServerTarget) -> str:
    """1000 clients send a byte a second, each a newline; new ones come."""
    worst = 0.0
    with many_clients(target, target.most(MANY, 50)) as clients:
        for _ in range(4):
            ends = target.clock() + 1
            for client in clients:
                client.send(b"\n")
            for client in clients:
                client.expect(b"\n", surplus=0)
            worst = max(worst, target.served())
            clients[0].quiet(max(ends - target.clock(), 0))
    return _in_time(worst)


@case(
    passes="a new client within 1 s; MiB each",
    severity="SHOULD",
    source="bounded buffers",
    needs=("T13", "T15", "T16", "T23"),
    waits=True,
    kill=60,
    process=True,
    alone=True,
)
def t40_stalled_1000(target: ServerTarget) -> str:
    """1000 clients send until they are pushed back, and never read; new ones come."""
    target.served()
    resident, pinned = target.program.resident(), processes.kernel_memory()
    with many_clients(target, MANY, receive_buffer=SMALL_BUFFER) as clients:
        for client in clients:
            # What waits at our end tells nothing of the server, and a thousand times that is all that a system has.
            client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, OWN_BUFFER)
        _stall(target, clients)
        worst = max(target.served() for _ in range(100))
        user = (target.program.resident() - resident) / MANY / KIB
        kernel = (processes.kernel_memory() - pinned) / MANY / KIB
    return f"{_in_time(worst)}; {user:.0f} KiB of its own and {kernel:.0f} KiB of the kernel's (both ends) each"


def _stall(target: ServerTarget, clients: list[StreamClient]) -> None:
    """Send until nobody can send more."""
    data, moved = payload(256 * KIB), target.clock()
    while target.clock() - moved < SETTLED:
        if sum([client.push(data, 0) for client in clients if client.sent < ENOUGH]):
            moved = target.clock()
        else:
            clients[0].wait(0.02, read=False)


def _in_time(worst: float) -> str:
    if worst > FRESH:
        raise Failed(f"a new client waited {worst:.2f} s", pattern="unserved")
    return f"worst new client {worst * 1000:.1f} ms"


@case(
    passes="99 of 100 answers within 50 ms",
    severity="SHOULD",
    source="schedulers",
    needs=("T13", "T18"),
    waits=True,
    alone=True,
)
def t41_fairness(target: ServerTarget) -> str:
    """One client streams as it can for 2 s, 20 others send and await messages of 64 bytes; the best of three."""
    target.plain()
    for _ in range(TRIES):
        times, echoed = _beside_a_stream(target, 2)
        everybody = [each for own in times for each in own]
        slow, slowest = p99(everybody), max(map(median, times))
        said = f"p99 {slow * 1000:.1f} ms of {len(everybody):,} answers beside {echoed / MIB / 2:,.0f} MiB/s"
        if max(slow, slowest) <= FAIR:
            return said
    raise Failed(f"{said}; half of one client's took more than {slowest * 1000:.1f} ms", pattern="unfair")


def _beside_a_stream(target: ServerTarget, seconds: float) -> tuple[list[list[float]], int]:
    """Give the seconds that each client's answers took, the last one's until now, and the bytes streamed meanwhile."""
    message, data = payload(64), payload(8 * MIB)
    with many_clients(target, 21) as (bulk, *others):
        times: dict[StreamClient, list[float]] = {client: [] for client in others}
        watch, asked, owed = Watch([bulk, *others]), {}, {client: len(message) for client in others}
        watch.write(bulk, True)
        for client in others:
            asked[client] = target.clock()
            client.send(message)
        ends = target.clock() + seconds
        while target.clock() < ends:
            for client in watch.ready(1):
                if client is bulk:
                    place = bulk.sent % len(data)
                    bulk.give(data[place : place + 256 * KIB])
                    _compare(bulk, data)
                    continue
                owed[client] -= len(client.receive(1)) + len(client.take() or b"")
                if owed[client] == 0:
                    times[client].append(target.clock() - asked[client])
                    asked[client], owed[client] = target.clock(), len(message)
                    client.send(message)
        for client in others:
            times[client].append(target.clock() - asked[client])
        return list(times.values()), bulk.received


def _compare(bulk: StreamClient, data: bytes) -> None:
    """Receive what is there of a stream that repeats the data."""
    place = bulk.received % len(data)
    piece = bulk.take(min(256 * KIB, len(data) - place))
    if piece != data[place : place + len(piece)] if piece else piece is not None:
        raise Failed(f"the stream beside the others differs or ends after {bulk.received:,} bytes")


@case(
    passes="none fails; how many a second",
    kill=60,
    severity="SHOULD",
    source="the accept path",
    needs=("T21",),
    waits=True,
)
def t51_many_short(target: ServerTarget) -> str:
    """5000 clients one after another send 32 bytes and close; 1000 over TLS."""
    message, began = payload(32), target.clock()
    count = target.most(1000 if target.subject.scheme == "tls" else 5000, 200)
    for number in range(count):
        try:
            with target.dial() as client:
                client.ask(message, surplus=0)
        except Failed as failure:
            raise failure.within(f"client {number}") from failure
    return f"{count / (target.clock() - began):,.0f}/s"


@case(
    passes="identical; memory stays flat",
    needs=("T35",),
    severity="INFO",
    source="—",
    waits=True,
    kill=120,
    process=True,
    longer=True,
)
def t53_size_limits(target: ServerTarget) -> str:
    """Send 1 GiB in one stream, in the longer form only."""
    if not target.longer:
        raise Skipped("takes long: add --long")
    target.served()
    block, before, began = payload(8 * MIB), target.program.owned(), target.clock()
    with target.dial() as client:
        for _ in range(128):
            client.exchange(block, quiet=False)
        grown = (target.program.owned() - before) / MIB
    if grown > 16:
        raise Failed(f"memory grew by {grown:.1f} MiB for one stream")
    return f"{1024 / (target.clock() - began):,.0f} MiB/s; memory +{grown:.1f} MiB"
