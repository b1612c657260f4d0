"""Cases of load: what a server uses when it is idle, pushed, or asked by many, and who has to wait for it.

Knows clients' sockets, and what the system tells of the server.
"""

import statistics

from tests.conformance import processes
from tests.conformance.cases import Failed, case
from tests.conformance.client import Client
from tests.conformance.crowd import Watch, crowd
from tests.conformance.payload import payload
from tests.conformance.target import Target

KIB, MIB = 1024, 1024 * 1024
IDLE = 0.10  # of a core
MANY = 1000  # clients
FRESH = 1.0  # seconds within which a new client has to be served
SMALL_BUFFER = 4 * KIB  # so that what is stalled is the server's, not memory of ours


@case(
    passes="pushed back; memory grows by 16 MiB at most",
    severity="SHOULD",
    source="uvicorn#23; asyncio flow control",
    waits=True,
    process=True,
)
def t16_backpressure(target: Target) -> str:
    """Send up to 192 MiB without reading anything."""
    target.served()
    before, data, sent = target.program.resident(), payload(MIB), 0
    with target.dial() as client:
        while sent < 192 * MIB and (count := client.push(data[sent % MIB :], 1.0)):
            sent += count
        grown = (target.program.resident() - before) / MIB
        if sent >= 192 * MIB:
            raise Failed(f"{sent / MIB:.0f} MiB were taken from a client that reads nothing; memory +{grown:.1f} MiB")
    if grown > 16:
        raise Failed(f"memory grew by {grown:.1f} MiB for one client")
    return f"pushed back after {sent / MIB:.1f} MiB; memory +{grown:.1f} MiB"


@case(passes="KiB each", severity="INFO", source="—", needs=("T14",), process=True)
def t32_memory(target: Target) -> str:
    """Hold 500 idle clients."""
    target.served()
    before = target.program.resident()
    with crowd(target, 500) as clients:
        clients[-1].ask(b"idle\n")
        return f"{(target.program.resident() - before) / KIB / 500:.2f} KiB each"


@case(passes="at most 10 % of a core", severity="SHOULD", source="busy polling", waits=True, process=True)
def t36_idle_cpu(target: Target) -> str:
    """Watch the server for 1.5 s with ten idle clients."""
    with crowd(target, 10) as clients:
        for client in clients:
            client.ask(b"idle\n", surplus=0)
        return _at_rest(target, 1.5)


@case(passes="at most 10 % of a core", severity="SHOULD", source="level-triggered end", waits=True, process=True)
def t37_eof_cpu(target: Target) -> str:
    """Watch the server while a client that has half-closed does not read its reply."""
    with target.dial(receive_buffer=SMALL_BUFFER) as client:
        # Enough that the server's send blocks, and little enough that its buffer has room for the end.
        data = payload(32 * KIB)
        while _reads(target, client):
            client.send(data)
        client.half_close()
        return _at_rest(target, 1.0)


def _reads(target: Target, client: Client) -> bool:
    """Whether the server soon reads all that has come."""
    deadline = target.clock() + 0.1
    while target.clock() < deadline:
        entry = processes.served(target.port, client.port)
        if entry and entry.unread == 0 and client.unacknowledged() == 0:
            return True
        client.wait(0.002, read=False)
    return False


def _at_rest(target: Target, seconds: float) -> str:
    load = target.program.load(seconds)
    if load > IDLE:
        raise Failed(f"{load:.0%} of a core")
    return f"{load:.0%} of a core"


@case(passes="a new client within 1 s", severity="SHOULD", source="slowloris", needs=("T14",), waits=True, kill=40)
def t39_trickle_1000(target: Target) -> str:
    """1000 clients send a byte a second; new ones come."""
    worst = 0.0
    with crowd(target, MANY) as clients:
        for byte in payload(4):
            ends = target.clock() + 1
            for client in clients:
                client.send(bytes([byte]))
            for client in clients:
                client.expect(bytes([byte]), surplus=0)
            worst = max(worst, target.served())
            clients[0].quiet(max(ends - target.clock(), 0))
    return _in_time(worst)


@case(
    passes="a new client within 1 s; MiB each",
    severity="SHOULD",
    source="bounded buffers",
    needs=("T14",),
    waits=True,
    kill=60,
    process=True,
)
def t40_stalled_1000(target: Target) -> str:
    """1000 clients send until they are pushed back, and never read; new ones come."""
    target.served()
    resident, pinned, data = target.program.resident(), processes.kernel_memory(), payload(4 * MIB)
    with crowd(target, MANY, receive_buffer=SMALL_BUFFER) as clients:
        for client in clients:
            client.push(data, 0)
        worst = max(target.served() for _ in range(10))
        for client in clients:
            client.push(data, 0)
        worst = max(worst, *(target.served() for _ in range(90)))
        user = (target.program.resident() - resident) / MANY / KIB
        kernel = (processes.kernel_memory() - pinned) / MANY / KIB
    return f"{_in_time(worst)}; {user:.0f} KiB of its own and {kernel:.0f} KiB of the kernel's (both ends) each"


def _in_time(worst: float) -> str:
    if worst > FRESH:
        raise Failed(f"a new client waited {worst:.2f} s")
    return f"worst new client {worst * 1000:.1f} ms"


@case(passes="99 of 100 answers within 50 ms", severity="SHOULD", source="schedulers", needs=("T14",), waits=True)
def t41_fairness(target: Target) -> str:
    """One client streams as fast as it can, 20 others send and await messages of 64 bytes."""
    message, data = payload(64), payload(8 * MIB)
    times: list[float] = []
    with crowd(target, 21) as (bulk, *others):
        watch, asked, owed = Watch([bulk, *others]), {}, {client: len(message) for client in others}
        watch.write(bulk, True)
        for client in others:
            asked[client] = target.clock()
            client.send(message)
        ends = target.clock() + 2
        while target.clock() < ends:
            for client in watch.ready(1):
                if client is bulk:
                    place = bulk.sent % len(data)
                    bulk.give(data[place : place + 256 * KIB])
                    _compare(bulk, data)
                    continue
                owed[client] -= len(client.receive(1)) + len(client.take() or b"")
                if owed[client] == 0:
                    times.append(target.clock() - asked[client])
                    asked[client], owed[client] = target.clock(), len(message)
                    client.send(message)
    if not times:
        raise Failed("no answer came within 2 s")
    p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]
    said = f"p99 {p99 * 1000:.1f} ms of {len(times):,} answers beside {bulk.received / MIB / 2:,.0f} MiB/s"
    if p99 > 0.05:
        raise Failed(said)
    return said


def _compare(bulk: Client, data: bytes) -> None:
    """Receive what is there of a stream that repeats the data."""
    place = bulk.received % len(data)
    piece = bulk.take(min(256 * KIB, len(data) - place))
    if piece != data[place : place + len(piece)] if piece else piece is not None:
        raise Failed(f"the stream beside the others differs or ends after {bulk.received:,} bytes")


@case(passes="none fails; how many a second", severity="SHOULD", source="the accept path", needs=("T35",), waits=True)
def t51_many_short(target: Target) -> str:
    """5000 clients one after another send 32 bytes and close."""
    message, began = payload(32), target.clock()
    for number in range(5000):
        try:
            with target.dial() as client:
                client.ask(message, surplus=0)
        except Failed as failure:
            raise Failed(f"client {number}: {failure}") from failure
    return f"{5000 / (target.clock() - began):,.0f}/s"
