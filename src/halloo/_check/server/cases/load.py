"""Stream cases of load: CPU time and memory of idle and busy servers, and the latency with many clients.

Uses clients and the server's process.
"""

import socket
from statistics import median

from halloo._check import processes
from halloo._check.case import PROCESS, Failed, Skipped, context
from halloo._check.payload import KIB, MIB
from halloo._check.processes import proportional_memory, resident_memory
from halloo._check.server.many_clients import Poller, many_clients, p99
from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget, case
from halloo._check.sockets import unacknowledged

MAX_IDLE_LOAD = 0.10  # of a core
CLIENTS = 1000
MAX_GROWTH = 16  # MiB of memory for one client
MAX_WAIT = 1.0  # seconds within which a new client has to be served
SMALL_BUFFER = 4 * KIB  # so that unread bytes fill the server's buffers, not the clients'
SEND_BUFFER = 64 * KIB
MAX_UNREAD = 4 * MIB  # a server that accepts this much from a client that does not read has no early backpressure
SETTLE_TIME = 0.2  # seconds
MAX_P99 = 0.05  # seconds
MAX_TIME = 30.0  # seconds
ATTEMPTS = 3  # a busy machine may pause for a moment, but an unfair server is unfair each time


def _memory(target: ServerTarget) -> int:
    return target.program.tree.total(proportional_memory)


@case("SHOULD", "backpressure; memory grows by at most 16 MiB", "uvicorn#23; asyncio flow control", "T05 T35", PROCESS)
def t16_backpressure(target: ServerTarget) -> str:
    """A client sends up to 192 MiB without reading."""
    target.check_served()
    before, data, sent = _memory(target), target.payload(MIB), 0
    with target.connect() as client:
        while sent < 192 * MIB and (count := client.send_until_blocked(data[sent % MIB :], 1.0)):
            sent += count
        grown = (_memory(target) - before) / MIB
        if sent >= 192 * MIB:
            fact = f"{sent / MIB:.0f} MiB accepted from a client that reads nothing; memory +{grown:.1f} MiB"
            raise Failed(fact, pattern="accepted grown" if grown > MAX_GROWTH else "accepted")
    if grown > MAX_GROWTH:
        raise Failed(f"memory grew by {grown:.1f} MiB for one client", pattern="grown")
    return f"backpressure after {sent / MIB:.1f} MiB; memory +{grown:.1f} MiB"


@case("INFO", "KiB per client", "—", "T14", PROCESS)
def t32_memory(target: ServerTarget) -> str:
    """500 clients are connected and idle."""
    target.check_served()
    before = _memory(target)
    with many_clients(target, 500) as clients:
        clients[-1].roundtrip(b"idle\n")
        return f"{(_memory(target) - before) / KIB / 500:.2f} KiB per client"


@case("SHOULD", "at most 10 % of a core", "busy polling", "T13", PROCESS)
def t36_idle_cpu(target: ServerTarget) -> str:
    """Measure the server's CPU time for 1.5 s with ten idle clients."""
    with many_clients(target, 10) as clients:
        for client in clients:
            client.roundtrip(b"idle\n", quiet_time=0)
        return _measure_idle_load(target, 1.5)


@case("SHOULD", "at most 10 % of a core", "level-triggered EOF", "T05 T35", PROCESS, schemes="tcp")
def t37_eof_cpu(target: ServerTarget) -> str:
    """Measure the server's CPU time for 1 s while a half-closed client does not read its reply."""
    with target.connect(receive_buffer=SMALL_BUFFER) as client:
        # Enough to block the server's send, and little enough to leave room for the FIN in its receive buffer.
        data = target.payload(64 * KIB)
        while client.sent < MAX_UNREAD and _reads_everything(target, client):
            client.send(data)
        client.half_close()
        return _measure_idle_load(target, 1.0)


def _reads_everything(target: ServerTarget, client: StreamClient) -> bool:
    """Whether the server reads all received bytes within 0.2 s."""
    deadline = target.clock() + 0.2
    while target.clock() < deadline:
        if unacknowledged(client.raw) == 0:  # cheaper than reading /proc
            entry = processes.other_end(client.raw)
            if entry and entry.unread == 0:
                return True
        client.wait(0.005, read=False)
    return False


def _measure_idle_load(target: ServerTarget, seconds: float) -> str:
    for _ in range(ATTEMPTS):  # some servers are busy at first
        load = target.program.cpu_load(seconds)
        if load <= MAX_IDLE_LOAD:
            return f"{load:.0%} of a core"
    raise Failed(f"{load:.0%} of a core", pattern="busy")


@case("SHOULD", "new clients are served within 1 s", "slowloris", "T13 T23", kill=60, alone=True)
def t39_trickle_1000(target: ServerTarget) -> str:
    """1000 clients send one newline a second; meanwhile new clients send a line."""
    worst = 0.0
    with many_clients(target, target.scale(CLIENTS, 50)) as clients:
        for _ in range(4):
            ends = target.clock() + 1
            for client in clients:
                client.send(b"\n")
            for client in clients:
                client.expect(b"\n", quiet_time=0)
            worst = max(worst, target.check_served())
            clients[0].expect_silence(max(ends - target.clock(), 0))
        rtt = max(client.rtt for client in clients)
    return _report_wait(max(worst - 2 * rtt, 0))


@case(
    "SHOULD",
    "new clients are served within 1 s; KiB per client",
    "bounded buffers",
    "T13 T15 T16 T23",
    PROCESS,
    kill=60,
    alone=True,
)
def t40_stalled_1000(target: ServerTarget) -> str:
    """1000 clients send until their sends block, and never read; then 100 new ones send a line."""
    target.check_served()
    resident, pinned = target.program.tree.total(resident_memory), processes.kernel_memory()
    with many_clients(target, CLIENTS, receive_buffer=SMALL_BUFFER) as clients:
        for client in clients:
            # Bytes queued by the clients say nothing about the server, and would exhaust the system's TCP memory.
            client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        _fill_buffers(target, clients)
        worst = _worst_wait(target, 100)
        user = (target.program.tree.total(resident_memory) - resident) / CLIENTS / KIB
        kernel = (processes.kernel_memory() - pinned) / CLIENTS / KIB
    return f"{_report_wait(worst)}; per client {user:.0f} KiB of the server, {kernel:.0f} KiB of the kernel (both ends)"


def _worst_wait(target: ServerTarget, count: int) -> float:
    """Return the longest wait of so many new clients, in the best of three attempts."""
    for last in (*[False] * (ATTEMPTS - 1), True):
        try:
            worst = max(target.check_served() for _ in range(count))
        except Failed:
            if last:
                raise
        else:
            if worst <= MAX_WAIT:
                break
    return worst


def _fill_buffers(target: ServerTarget, clients: list[StreamClient]) -> None:
    """Send on all connections until every send blocks."""
    data, last_progress = target.payload(256 * KIB), target.clock()
    while target.clock() - last_progress < SETTLE_TIME:
        if sum([client.send_until_blocked(data, 0) for client in clients if client.sent < MAX_UNREAD]):
            last_progress = target.clock()
        else:
            clients[0].wait(0.02, read=False)


def _report_wait(worst: float) -> str:
    if worst > MAX_WAIT:
        raise Failed(f"a new client waited {worst:.2f} s", pattern="unserved")
    return f"slowest new client {worst * 1000:.1f} ms"


@case("SHOULD", "99 of 100 replies within 50 ms", "schedulers", "T13 T18", alone=True)
def t41_fairness(target: ServerTarget) -> str:
    """One client streams for 2 s while 20 others exchange messages of 64 bytes; the best of three runs."""
    target.require_plain_echo()
    if not target.started and (fastest := min(target.check_served() for _ in range(5))) > MAX_P99 / 2:
        raise Skipped(f"a round trip takes at least {fastest * 1000:.0f} ms")
    for _ in range(ATTEMPTS):
        times, echoed = _measure_latencies(target, 2)
        latencies = [each for own in times for each in own]
        slow, slowest = p99(latencies), max(map(median, times))
        measured = f"p99 {slow * 1000:.1f} ms of {len(latencies):,} replies beside {echoed / MIB / 2:,.0f} MiB/s"
        if max(slow, slowest) <= MAX_P99:
            return measured
    raise Failed(f"{measured}; slowest median of one client {slowest * 1000:.1f} ms", pattern="unfair")


def _measure_latencies(target: ServerTarget, seconds: float) -> tuple[list[list[float]], int]:
    """Return each client's latencies in seconds, the last one unfinished, and the number of bytes streamed."""
    message, data = target.payload(64), target.payload(8 * MIB)
    with many_clients(target, 21) as (bulk, *others):
        times: dict[StreamClient, list[float]] = {client: [] for client in others}
        poller, sent_at, missing = Poller([bulk, *others], bulk), {}, {client: len(message) for client in others}
        for client in others:
            sent_at[client] = target.clock()
            client.send(message)
        ends = target.clock() + seconds
        while target.clock() < ends:
            for client in poller.ready(1):
                if client is bulk:
                    offset = bulk.sent % len(data)
                    bulk.send_some(data[offset : offset + 256 * KIB])
                    _receive_and_compare(bulk, data)
                    continue
                missing[client] -= len(client.receive(1)) + len(client.receive_some() or b"")
                if missing[client] == 0:
                    times[client].append(target.clock() - sent_at[client])
                    sent_at[client], missing[client] = target.clock(), len(message)
                    client.send(message)
        for client in others:
            times[client].append(target.clock() - sent_at[client])
        return list(times.values()), bulk.received


def _receive_and_compare(bulk: StreamClient, data: bytes) -> None:
    """Receive and compare the available part of a stream that repeats the data."""
    offset = bulk.received % len(data)
    piece = bulk.receive_some(min(256 * KIB, len(data) - offset))
    if piece != data[offset : offset + len(piece)] if piece else piece is not None:
        raise Failed(f"the streaming client's data differs or ends after {bulk.received:,} bytes")


@case("SHOULD", "none fails; clients per second", "the accept path", "T21", kill=60)
def t51_many_short(target: ServerTarget) -> str:
    """5000 clients (1000 over TLS), or as many as 30 s allow, one after another send 32 bytes, read them and close."""
    message, began = target.payload(32), target.clock()
    count = target.scale(1000 if target.spec.scheme == "tls" else 5000, 200)
    for number in range(count):
        if target.clock() - began > MAX_TIME:
            count = number
            break
        with context(f"client {number}"), target.connect() as client:
            client.roundtrip(message, quiet_time=0)
    return f"{count / (target.clock() - began):,.0f}/s"


@case("INFO", "identical; memory grows by at most 16 MiB", "—", "T35", PROCESS, kill=120)
def t53_size_limits(target: ServerTarget) -> str:
    """Send 1 GiB in one stream; in the longer form only."""
    if not target.longer:
        raise Skipped("takes long; runs with: halloo check server --long")
    target.check_served()
    block, before, began = target.payload(8 * MIB), _memory(target), target.clock()
    with target.connect() as client:
        for _ in range(128):
            client.duplex(block, then_silence=False)
        grown = (_memory(target) - before) / MIB
    if grown > MAX_GROWTH:
        raise Failed(f"memory grew by {grown:.1f} MiB for one stream", pattern="grown")
    return f"{1024 / (target.clock() - began):,.0f} MiB/s; memory +{grown:.1f} MiB"
