"""What a case is given: where the server is, the conditions of the trial, and the program where it may be seen.

Knows nothing itself: it hands out clients, time and chance.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from random import Random

from halloo._check.case import Skipped
from halloo._check.server.program import Output, Program
from halloo._check.server.stream_client import END, StreamClient
from halloo._check.server.udp_client import UdpClient
from halloo._check.spec import ServerSpec

PATIENT = 5.0  # seconds to connect
KNOCK = 0.2  # the same, to a program on this machine that may stand still


@dataclass(slots=True)
class ServerTarget:
    """A server at a host and port, or a path."""

    subject: ServerSpec
    host: str
    port: int
    path: str
    clock: Callable[[], float]
    seed: int
    longer: bool = False
    started: Program | None = None

    @classmethod
    def of(
        cls,
        subject: ServerSpec,
        program: Program | None,
        *,
        clock: Callable[[], float],
        seed: int,
        longer: bool = False,
    ) -> "ServerTarget":
        """Make a target of a program that listens, or of the subject's address."""
        if program:
            return cls(subject, program.host, program.port, program.path, clock, seed, longer, program)
        address = subject.address
        assert address is not None  # noqa: S101 - one of the two is given
        return cls(subject, address.host or "localhost", address.port, address.path or "", clock, seed, longer)

    @property
    def program(self) -> Program:
        """The server's processes."""
        if self.started is None:
            raise Skipped("needs the server's process: give its command instead of an address")
        return self.started

    def most(self, full: int, gentle: int) -> int:
        """Choose how much: `full` of a program that was started for this, `gentle` of somebody's server."""
        return full if self.started else gentle

    def plain(self) -> None:
        """Skip what can only be asked of an echo that changes nothing and says nothing first."""
        if self.subject.expect or self.subject.greeting:
            raise Skipped("is asked of a pure echo only")

    def chance(self) -> Random:
        """Make the random source of this trial; the same seed makes the same one."""
        return Random(self.seed)  # noqa: S311 - it chooses what to do, and keeps no secret

    def restart(self, *, descriptors: int | None = None, output: Output = "kept") -> None:
        """End the server and start it again, on another port."""
        self.program.kill()
        self.program.start(descriptors=descriptors, output=output)
        self.host, self.port = self.program.host, self.program.port

    def frozen(self) -> AbstractContextManager[None]:
        """Have the server stand still meanwhile, so that what happens to it happens at once; not somebody's server."""
        return self.started.frozen() if self.started else nullcontext()

    @property
    def place(self) -> tuple[str, int] | str:
        """Where to connect to."""
        return self.path or (self.host, self.port)

    def dial(
        self,
        *,
        host: str = "",
        timeout: float = PATIENT,
        receive_buffer: int | None = None,
        source_port: int | None = None,
    ) -> StreamClient:
        """Connect a client."""
        client = StreamClient(
            self.path or (host or self.host, self.port),
            clock=self.clock,
            timeout=timeout,
            receive_buffer=receive_buffer,
            source_port=source_port,
            secure=self.subject.scheme == "tls",
            expected=self.subject.expected,
        )
        if self.subject.greeting:
            client.skip_line()
        return client

    def knock(self) -> StreamClient:
        """Connect a client that will neither say nor hear anything; one that stands still may have no room for it."""
        return StreamClient(self.place, clock=self.clock, timeout=KNOCK if self.started else PATIENT)

    def letters(self, *, host: str = "", source: str = "", source_port: int = 0) -> UdpClient:
        """Open a client's socket for datagrams."""
        return UdpClient(
            (host or self.host, self.port),
            clock=self.clock,
            source=(source, source_port),
            expected=self.subject.expected,
        )

    def served(self, within: float = END) -> float:
        """See that a new client is served, and say how many seconds that took."""
        began = self.clock()
        with self.dial(timeout=within) as client:
            client.ask(b"and now?\n", within, surplus=0)
            return self.clock() - began
