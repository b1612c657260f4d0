"""The argument of a case: the server's address, the options, and its program if the checker has started it.

Creates clients, and provides the clock and the random numbers.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from random import Random

from halloo._check import processes
from halloo._check.case import PROCESS, Case, Skipped, context
from halloo._check.payload import KIB, payload
from halloo._check.server.program import Output, Program
from halloo._check.server.stream_client import EOF_TIMEOUT, StreamClient
from halloo._check.server.udp_client import UdpClient
from halloo._check.sockets import POLL_INTERVAL
from halloo._check.spec import ServerSpec

LINE_LENGTH = KIB  # bytes of a line for a server that changes lines; some have a limit
CONNECT_TIMEOUT = 5.0  # seconds to connect
LOSSY_PATH = (1.0, 1.0, 2.0, 2.0, 2.0)  # seconds to wait before asking again
LOSSY_SERVER = (*(0.3,) * 6, *(1.0,) * 6)  # the same: if one of three is lost, twelve are once in 500,000 times
ACCEPT_TIMEOUT = 1.0  # seconds until a server has to accept the clients before
LOCAL_CONNECT_TIMEOUT = 0.2  # the same, to a local program that may be stopped


@dataclass(slots=True)
class ServerTarget:
    """A server at a host and port, or at a path."""

    spec: ServerSpec
    host: str
    port: int
    path: str
    clock: Callable[[], float]
    seed: int
    longer: bool = False
    started: Program | None = None
    messages_sent: int = 0
    _udp_clients: list[UdpClient] = field(default_factory=list)

    @classmethod
    def of(
        cls, spec: ServerSpec, program: Program | None, clock: Callable[[], float], seed: int, *, longer: bool = False
    ) -> "ServerTarget":
        """Make a target from a listening program, or from the address of the spec."""
        if program:
            return cls(spec, program.host, program.port, program.path, clock, seed, longer, program)
        address = spec.reached or spec.address
        assert address is not None  # noqa: S101 - one of the two is given
        return cls(spec, address.host or "localhost", address.port, address.path or "", clock, seed, longer)

    @property
    def program(self) -> Program:
        """The server's program. Raises Skipped if only its address is known."""
        if self.started is None:
            raise Skipped(PROCESS)
        return self.started

    def scale(self, full: int, by_address: int) -> int:
        """Choose an amount: `full` for a program started by the checker, `by_address` for a server given by address."""
        return full if self.started else by_address

    def require_plain_echo(self) -> None:
        """Skip the case if the server changes lines or sends a greeting."""
        if self.spec.expect or self.spec.greeting:
            raise Skipped("only for servers that echo bytes unchanged and send no greeting")

    def payload(self, size: int, stream: int = 0) -> bytes:
        """Return test data of whole lines, or one datagram without any if the server changes lines."""
        data = payload(size, stream)
        if not self.spec.expect:
            return data
        changed = bytearray(data.replace(b"\n", b"."))
        if self.spec.scheme != "udp" and changed:
            changed[LINE_LENGTH - 1 :: LINE_LENGTH] = b"\n" * (size // LINE_LENGTH)
            changed[-1:] = b"\n"
        return bytes(changed)

    def line(self, text: bytes) -> bytes:
        """Return a line; a datagram to a server that changes lines has no newline, which some would change too."""
        return text if self.spec.expect and self.spec.scheme == "udp" else text + b"\n"

    @property
    def every_byte(self) -> bytes:
        """All byte values, or only the characters of ASCII if the server changes lines, as it may expect text."""
        return bytes(range(32, 127)) if self.spec.expect else bytes(range(256))

    def message(self, data: bytes) -> bytes:
        """Return the next message of the server's protocol in place of the bytes for an echo."""
        if self.spec.messages is None:
            return data
        self.messages_sent += 1
        return self.spec.messages.request(self.messages_sent - 1)

    def random(self) -> Random:
        return Random(self.seed)  # noqa: S311 - not used for cryptography

    def restart(self, *, descriptors: int | None = None, output: Output = "kept") -> None:
        self.program.kill()
        self.program.start(descriptors=descriptors, output=output)
        self.host, self.port = self.program.host, self.program.port

    def suspended(self) -> AbstractContextManager[None]:
        """Stop the server during the block, so that several events reach it at once; by address, do nothing."""
        return self.started.suspended() if self.started else nullcontext()

    @property
    def address(self) -> tuple[str, int] | str:
        return self.path or (self.host, self.port)

    def connect(
        self,
        *,
        host: str = "",
        timeout: float = CONNECT_TIMEOUT,
        receive_buffer: int | None = None,
        source_port: int | None = None,
    ) -> StreamClient:
        client = StreamClient(
            self.path or (host or self.host, self.port),
            clock=self.clock,
            timeout=timeout,
            receive_buffer=receive_buffer,
            source_port=source_port,
            secure=self.spec.scheme == "tls",
            frees_port=self.spec.port != 0,
            far=not self.started,
            expected=self.spec.expected_reply,
            message=self.message,
            on_progress=self.started.note_progress if self.started else None,
        )
        if self.spec.greeting:
            with context("waiting for a line of greeting"):
                while client.receive(1) != b"\n":
                    pass
        return client

    def await_accepted(self) -> None:
        """Wait until all clients have been accepted, so that a queue for one is enough for the next."""
        deadline = self.clock() + ACCEPT_TIMEOUT
        while self.started and not self.path and processes.unaccepted(self.port) and self.clock() < deadline:
            time.sleep(POLL_INTERVAL)

    def connect_idle(self) -> StreamClient:
        """Connect a client that sends and receives nothing; a stopped server may have no room in its queue."""
        timeout = LOCAL_CONNECT_TIMEOUT if self.started else CONNECT_TIMEOUT
        return StreamClient(self.address, clock=self.clock, timeout=timeout)

    def udp_client(self, *, host: str = "", source: tuple[str, int] = ("", 0)) -> UdpClient:
        """Open a client that asks again, if the path or the server may lose datagrams."""
        address, expected = (host or self.host, self.port), self.spec.expected_reply
        waits = LOSSY_SERVER if self.spec.lossy else () if self.started else LOSSY_PATH
        client = UdpClient(
            address,
            clock=self.clock,
            source=source,
            expected=expected,
            message=self.message,
            waits=waits,
            on_progress=self.started.note_progress if self.started else None,
        )
        self._udp_clients.append(client)
        return client

    def with_loss(self, note: str | None) -> str | None:
        """Add the number of lost datagrams to the note of a case, if any may be lost."""
        sent = sum(client.sent for client in self._udp_clients if client.waits)
        lost = sent - sum(client.answered for client in self._udp_clients if client.waits)
        return note if not lost else "; ".join(filter(None, (note, f"{lost} of {sent} datagrams were not answered")))

    def check_served(self, within: float = EOF_TIMEOUT) -> float:
        """Check that a new client is served; return the seconds that it took."""
        began = self.clock()
        with self.connect(timeout=within) as client:
            client.roundtrip(b"and now?\n", within, quiet_time=0)
            return self.clock() - began


case = Case[ServerTarget]
