"""Stream cases of starting, stopping and restarting the server, with connections open meanwhile.

Uses clients, signals and the server's process.
"""

import signal
import subprocess
from contextlib import suppress

from halloo._check import processes
from halloo._check.case import Failed, Skipped, case
from halloo._check.payload import payload
from halloo._check.server.stream_client import StreamClient, mismatch
from halloo._check.server.target import ServerTarget

MIB = 1024 * 1024
STOP_TIMEOUT = 15.0  # seconds within which a server has to exit after a signal
KEEPALIVE_TIMER = 2  # its `timer_active` value in /proc/net/tcp


@case(passes="still served", severity="INFO", source="idle timeouts", waits=True, kill=90, has_long_form=True)
def t25_idle_4s(target: ServerTarget) -> str:
    """A client has a line echoed, is idle for 4 s (60 s in the longer form), and sends another line."""
    seconds = 60 if target.longer else 4
    with target.connect() as client:
        client.roundtrip(b"before\n", quiet_time=0)
        client.expect_silence(seconds)
        client.roundtrip(b"after\n")
    return f"no timeout within {seconds} s"


@case(passes="listens and serves at once", severity="MUST", source="TIME-WAIT; RFC 9293 MUST-13", process=True)
def t28_restart(target: ServerTarget) -> None:
    """Kill the server (SIGKILL) while a client is connected, and start it again on the same port."""
    _require_known_port(target)
    with target.connect() as client:
        client.roundtrip(b"before\n", quiet_time=0)
        target.program.kill()
        target.program.start(port=target.port, wait_for_port=False)
        target.check_served()


def _require_known_port(target: ServerTarget) -> None:
    if not (target.spec.has_placeholder or target.spec.port or target.path):
        raise Skipped("the server chooses its own port: write PORT in its command")


@case(passes="exit code, time, replies to both", severity="INFO", source="signal(7)", waits=True, process=True)
def t30_sigterm(target: ServerTarget) -> str:
    """Send SIGTERM while one client is idle and another has not read its reply."""
    with target.connect() as idle, target.connect() as unread:
        idle.roundtrip(b"idle\n")
        unread.send(payload(65536))
        target.program.pause(0.2)
        target.program.send_signal(signal.SIGTERM)
        try:
            code, elapsed = target.program.wait_exit(STOP_TIMEOUT)
        except Failed as failure:
            end = str(failure)
        else:
            end = f"exit code {code} after {elapsed:.1f} s"
        return f"{end}; the idle client received {_describe_rest(idle, 0)}, the other {_describe_rest(unread, 65536)}"


def _describe_rest(client: StreamClient, expected: int) -> str:
    received = 0
    try:
        while piece := client.receive_some():
            received += len(piece)
    except Failed as failure:
        return f"{received:,} of {expected:,} bytes, then: {failure}"
    return f"{received:,} of {expected:,} bytes, then {'the end of the stream' if piece is not None else 'nothing'}"


@case(
    passes="every byte accepted comes back, then EOF",
    severity="SHOULD",
    needs=("T05", "T10"),
    source="gunicorn#3590; RFC 9112 9.6",
    waits=True,
    process=True,
)
def t34_drain(target: ServerTarget) -> str:
    """A client sends for 0.8 s; SIGTERM after 0.3 s, reading from 0.35 s; then it half-closes and reads the rest."""
    target.require_plain_echo()
    data, received, signalled = payload(12 * MIB), 0, False
    with target.connect() as client:
        began = target.clock()
        while (now := target.clock() - began) < 0.8:
            if now >= 0.3 and not signalled:
                signalled = True
                target.program.send_signal(signal.SIGTERM)
            client.send_some(data[client.sent : client.sent + 65536])
            if now >= 0.35:
                received += _receive_and_compare(client, data, received)
            client.wait(0.01, read=False)  # not `pause`: the server may exit
        if not signalled:  # this machine was suspended
            target.program.send_signal(signal.SIGTERM)
        client.half_close()
        deadline = target.clock() + STOP_TIMEOUT
        while received < client.sent and target.clock() < deadline:
            if not (more := _receive_and_compare(client, data, received)):
                client.wait(0.1)
            received += more
        client.expect_eof()
        code, elapsed = target.program.wait_exit(STOP_TIMEOUT)
        return f"{received:,} bytes, then exit code {code} after {elapsed:.1f} s"


def _receive_and_compare(client: StreamClient, data: bytes, received: int) -> int:
    """Receive what is available, compare it, and return its length."""
    piece = client.receive_some()
    if piece == b"":
        raise Failed(f"{client.sent:,} bytes sent, {received:,} back, then the end of the stream", pattern="reset")
    if piece and piece != data[received : received + len(piece)]:
        raise mismatch(data[received : received + len(piece)], piece, received)
    return len(piece or b"")


@case(
    passes="on or off, and the idle time",
    severity="INFO",
    source="RFC 1122 4.2.3.6: off by default, 2 h",
    process=True,
    schemes=frozenset({"tcp"}),
)
def t42_keep_alive(target: ServerTarget) -> str:
    """Read the keep-alive timer of the server's socket from /proc/net/tcp."""
    with target.connect() as client:
        client.roundtrip(b"hello\n")
        entry = processes.server_socket(target.port, client.port)
    if entry is None:
        raise Failed("the server has no socket for this client")
    return f"on, after {entry.timer_seconds:,.0f} s" if entry.timer == KEEPALIVE_TIMER else "off"


@case(passes="exits with an error; does not share the port", severity="SHOULD", source="SO_REUSEPORT", process=True)
def t43_port_taken(target: ServerTarget) -> str:
    """Start a second copy of the server on the same port."""
    _require_known_port(target)
    second = subprocess.Popen(
        target.program.argv(target.port),
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
                target.program.kill_process(pid)
        second.communicate()
    if second.returncode <= 0:
        raise Failed(f"the second copy exited with code {second.returncode} (0: success; -9: killed after 10 s)")
    if not (reason := errors.strip() or output.strip()):
        raise Failed(f"the second copy exited with code {second.returncode} without an error message")
    target.check_served()
    return f"exit code {second.returncode}: {reason.decode(errors='replace')}"


@case(
    passes="exits within 2 s, without a traceback",
    severity="SHOULD",
    source="a person at a terminal",
    waits=True,
    process=True,
)
def t44_sigint(target: ServerTarget) -> str:
    """Send Ctrl-C (SIGINT to all its processes) while a client is connected."""
    with target.connect() as client:
        client.roundtrip(b"hello\n", quiet_time=0)
        target.program.send_signal_to_all(signal.SIGINT)
        code, elapsed = target.program.wait_exit(STOP_TIMEOUT)
        if "Traceback" in target.program.final_output:
            raise Failed(f"the server printed a traceback: ...{target.program.final_output[-300:]!r}")
        if elapsed > 2:
            raise Failed(f"exit code {code} after {elapsed:.1f} s")
        return f"exit code {code} after {elapsed:.1f} s"
