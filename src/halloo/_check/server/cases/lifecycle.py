"""Cases of a server's life: starting, being told to stop, and starting again.

Knows signals, and what the system tells of the server. What happens to connections meanwhile is the question.
"""

import signal
import subprocess
from contextlib import suppress

from halloo._check import processes
from halloo._check.case import Failed, Skipped, case
from halloo._check.payload import payload
from halloo._check.server.stream_client import StreamClient, differs
from halloo._check.server.target import ServerTarget

MIB = 1024 * 1024
STOP = 15.0  # seconds within which a server that was told to stop has stopped
KEEPALIVE = 2  # what `timer_active` says for it in /proc/net/tcp


@case(passes="still works", severity="INFO", source="idle timeouts", waits=True, kill=90, longer=True)
def t25_idle_4s(target: ServerTarget) -> str:
    """Echo, say nothing for 4 s (60 s in the longer form), echo."""
    seconds = 60 if target.longer else 4
    with target.dial() as client:
        client.ask(b"before\n", surplus=0)
        client.quiet(seconds)
        client.ask(b"after\n")
    return f"no timeout within {seconds} s"


@case(passes="listens and serves at once", severity="MUST", source="TIME-WAIT; RFC 9293 MUST-13", process=True)
def t28_restart(target: ServerTarget) -> None:
    """With a client connected, kill the server (SIGKILL) and start it again on the same port."""
    _needs_a_port(target)
    with target.dial() as client:
        client.ask(b"before\n", surplus=0)
        target.program.kill()
        target.program.start(port=target.port, patient=False)
        target.served()


def _needs_a_port(target: ServerTarget) -> None:
    if not (target.subject.places or target.subject.port or target.path):
        raise Skipped("the server chooses its port: write PORT into its command")


@case(passes="exit code, time, what both see", severity="INFO", source="signal(7)", waits=True, process=True)
def t30_sigterm(target: ServerTarget) -> str:
    """Send SIGTERM while one client is idle and another has not read its reply."""
    with target.dial() as idle, target.dial() as owed:
        idle.ask(b"idle\n")
        owed.send(payload(65536))
        target.program.pause(0.2)
        target.program.tell(signal.SIGTERM)
        try:
            code, took = target.program.ended(STOP)
        except Failed as failure:
            end = str(failure)
        else:
            end = f"exit code {code} after {took:.1f} s"
        return f"{end}; idle saw {_fate(idle, 0)}, the other {_fate(owed, 65536)}"


def _fate(client: StreamClient, owed: int) -> str:
    came = 0
    try:
        while piece := client.take():
            came += len(piece)
    except Failed as failure:
        return f"{came:,} of {owed:,} bytes, then: {failure}"
    return f"{came:,} of {owed:,} bytes, then {'the end' if piece is not None else 'nothing'}"


@case(
    passes="every byte that was accepted comes back, then the end",
    severity="SHOULD",
    needs=("T05", "T10"),
    source="gunicorn#3590; RFC 9112 9.6",
    waits=True,
    process=True,
)
def t34_drain(target: ServerTarget) -> str:
    """Stream for 0.8 s, reading late, with SIGTERM after 0.3 s; then half-close and read all."""
    target.plain()
    data, came, told = payload(12 * MIB), 0, False
    with target.dial() as client:
        began = target.clock()
        while (now := target.clock() - began) < 0.8:
            if now >= 0.3 and not told:
                told = True
                target.program.tell(signal.SIGTERM)
            client.give(data[client.sent : client.sent + 65536])
            if now >= 0.35:
                came += _compared(client, data, came)
            # Not `pause`: the server may end.
            client.wait(0.01, read=False)
        if not told:  # this machine stood still
            target.program.tell(signal.SIGTERM)
        client.half_close()
        deadline = target.clock() + STOP
        while came < client.sent and target.clock() < deadline:
            if not (more := _compared(client, data, came)):
                client.wait(0.1)
            came += more
        client.end()
        code, took = target.program.ended(STOP)
        return f"{came:,} bytes, exit code {code} {took:.1f} s after them"


def _compared(client: StreamClient, data: bytes, came: int) -> int:
    """Receive what is there, compare it, and say how much it was."""
    piece = client.take()
    if piece == b"":
        raise Failed(f"{client.sent:,} bytes sent, {came:,} back, then the end of the stream", pattern="reset")
    if piece and piece != data[came : came + len(piece)]:
        raise differs(data[came : came + len(piece)], piece, came)
    return len(piece or b"")


@case(
    passes="on or off, after how long",
    severity="INFO",
    source="RFC 1122 4.2.3.6: off by default, 2 h",
    process=True,
    schemes=frozenset({"tcp"}),
)
def t42_keep_alive(target: ServerTarget) -> str:
    """Look at the timers of the server's sockets."""
    with target.dial() as client:
        client.ask(b"hello\n")
        entry = processes.served(target.port, client.port)
    if entry is None:
        raise Failed("the server has no socket for this client")
    return f"on, after {entry.timer_seconds:,.0f} s" if entry.timer == KEEPALIVE else "off"


@case(passes="exits with a reason, and does not share the port", severity="SHOULD", source="SO_REUSEPORT", process=True)
def t43_port_taken(target: ServerTarget) -> str:
    """Start a second copy on the same port."""
    _needs_a_port(target)
    second = subprocess.Popen(
        target.program.words(target.port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = second.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        output = errors = b""
    finally:
        for pid in processes.session(second.pid):
            with suppress(ProcessLookupError):
                target.program.kill_one(pid)
        second.communicate()
    if second.returncode <= 0:
        raise Failed(f"the second copy ended with {second.returncode} (0: as if all were well; -9: only by force)")
    if not (reason := errors.strip() or output.strip()):
        raise Failed(f"the second copy ended with {second.returncode}, and gave no reason")
    target.served()
    return f"exit code {second.returncode}: {reason.decode(errors='replace')}"


@case(
    passes="exit within 2 s, no traceback",
    severity="SHOULD",
    source="a person at a terminal",
    waits=True,
    process=True,
)
def t44_sigint(target: ServerTarget) -> str:
    """Type Ctrl-C (SIGINT to all its processes) while a client is connected."""
    with target.dial() as client:
        client.ask(b"hello\n", surplus=0)
        target.program.tell_all(signal.SIGINT)
        code, took = target.program.ended(STOP)
        if "Traceback" in target.program.last_words:
            raise Failed(f"a traceback: ...{target.program.last_words[-300:]!r}")
        if took > 2:
            raise Failed(f"exit code {code} after {took:.1f} s")
        return f"exit code {code} after {took:.1f} s"
