"""Stream cases of starting, stopping and restarting the server, with connections open meanwhile.

Uses clients, signals and the server's process.
"""

import signal

from halloo._check import processes
from halloo._check.case import PROCESS, Failed, Skipped
from halloo._check.payload import MIB
from halloo._check.processes import describe_exit
from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget, case

COPY_TIMEOUT = 10.0  # seconds within which a second copy of the server has to exit
STOP_TIMEOUT = 15.0  # seconds within which a server has to exit after a signal


@case("INFO", "still served", "idle timeouts", kill=90)
def t25_idle_4s(target: ServerTarget) -> str:
    """A client has a line echoed, is idle for 4 s (60 s in the longer form), and sends another line."""
    seconds = 60 if target.longer else 4
    with target.connect() as client:
        client.roundtrip(b"before\n", quiet_time=0)
        client.expect_silence(seconds)
        client.roundtrip(b"after\n")
    return f"no timeout within {seconds} s"


@case("MUST", "listens and serves at once", "TIME-WAIT; RFC 9293 MUST-13", command_only=PROCESS)
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


def _require_foreground(target: ServerTarget) -> None:
    if target.program.in_background:
        raise Skipped("the server runs in the background, where no terminal reaches it and no exit code is seen")


@case("INFO", "exit code, time, replies to both", "signal(7)", command_only=PROCESS)
def t30_sigterm(target: ServerTarget) -> str:
    """Send SIGTERM while one client is idle and another has not read its reply."""
    with target.connect() as idle, target.connect() as unread:
        idle.roundtrip(b"idle\n")
        unread.send(target.payload(65536))
        target.program.pause(0.2)
        target.program.send_signal(signal.SIGTERM)
        try:
            code, elapsed = target.program.wait_exit(STOP_TIMEOUT)
            end = f"the server {describe_exit(code)} after {elapsed:.1f} s"
        except Failed as failure:
            end = str(failure)
        return f"{end}; the idle client received {_describe_rest(idle, 0)}, the other {_describe_rest(unread, 65536)}"


def _describe_rest(client: StreamClient, expected: int) -> str:
    received = 0
    try:
        while piece := client.receive_some():
            received += len(piece)
    except Failed as failure:
        return f"{received:,} of {expected:,} bytes, then: {failure}"
    return f"{received:,} of {expected:,} bytes, then {'the end of the stream' if piece is not None else 'nothing'}"


@case("SHOULD", "every byte accepted comes back, then EOF", "gunicorn#3590; RFC 9112 9.6", "T05 T10", PROCESS)
def t34_drain(target: ServerTarget) -> str:
    """A client sends for 0.8 s; SIGTERM after 0.3 s, reading from 0.35 s; then it half-closes and reads the rest."""
    target.require_plain_echo()
    data, received, signalled = target.payload(12 * MIB), 0, False
    with target.connect() as client:
        began = target.clock()
        while (now := target.clock() - began) < 0.8:
            if now >= 0.3 and not signalled:
                signalled = True
                target.program.send_signal(signal.SIGTERM)
            client.send_some(data[client.sent : client.sent + 65536])
            if now >= 0.35:
                received += _receive(client, data, received)
            client.wait(0.01, read=False)  # not `pause`: the server may exit
        if not signalled:  # this machine was suspended
            target.program.send_signal(signal.SIGTERM)
        client.half_close()
        deadline = target.clock() + STOP_TIMEOUT
        while received < client.sent and target.clock() < deadline:
            if not (more := _receive(client, data, received)):
                client.wait(0.1)
            received += more
        client.expect_eof()
        code, elapsed = target.program.wait_exit(STOP_TIMEOUT)
        return f"{received:,} bytes, then the server {describe_exit(code)} after {elapsed:.1f} s"


def _receive(client: StreamClient, data: bytes, received: int) -> int:
    """Receive what is available, compare it, and return its length."""
    count = client.receive_part(data, received)
    if count == 0:
        raise Failed(f"{client.sent:,} bytes sent, {received:,} back, then the end of the stream", pattern="reset")
    return count or 0


@case(
    "INFO", "on or off, and the idle time", "RFC 1122 4.2.3.6: off by default, 2 h", command_only=PROCESS, schemes="tcp"
)
def t42_keep_alive(target: ServerTarget) -> str:
    """Read the keep-alive timer of the server's socket from /proc/net/tcp."""
    with target.connect() as client:
        client.roundtrip(b"hello\n")
        entry = processes.other_end(client.raw)
    if entry is None:
        raise Failed("the server has no socket for this client")
    return "off" if entry.keep_alive is None else f"on, after {entry.keep_alive:,.0f} s"


@case("SHOULD", "exits with an error; does not share the port", "SO_REUSEPORT", command_only=PROCESS)
def t43_port_taken(target: ServerTarget) -> str:
    """Start a second copy of the server on the same port."""
    _require_known_port(target)
    _require_foreground(target)
    with target.program.copy() as second:
        code = second.run(target.program.argv(target.port), COPY_TIMEOUT)
        if code is None and target.port in processes.listening_ports(second.tree.running()):
            raise Failed("the second copy listens on the same port", pattern="shared")
        if code is None:
            raise Failed(f"the second copy was still running after {COPY_TIMEOUT:g} s")
        if code <= 0:
            raise Failed(f"the second copy {describe_exit(code)}")
        if not (reason := second.output().strip()):
            raise Failed(f"the second copy exited with code {code} without an error message")
    target.check_served()
    return f"exit code {code}: {reason}"


@case("SHOULD", "exits within 2 s, without a traceback", "a person at a terminal", command_only=PROCESS)
def t44_sigint(target: ServerTarget) -> str:
    """Send Ctrl-C (SIGINT to all its processes) while a client is connected."""
    _require_foreground(target)
    with target.connect() as client:
        client.roundtrip(b"hello\n", quiet_time=0)
        target.program.send_signal(signal.SIGINT, to_all=True)
        code, elapsed = target.program.wait_exit(STOP_TIMEOUT)
        if "Traceback" in target.program.final_output:
            fact = f"the server printed a traceback: ...{target.program.final_output[-300:]!r}"
            raise Failed(fact, pattern="traceback")
        if elapsed > 2:
            raise Failed(f"the server {describe_exit(code)} after {elapsed:.1f} s", pattern="slow")
        return f"the server {describe_exit(code)} after {elapsed:.1f} s"
