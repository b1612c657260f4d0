"""What a client case works with: the server's sockets, the client to start, and the checks on both.

A case sets a behaviour for each connection, starts the client, then checks the output and the exit.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from halloo._check.case import Evidence, Failed, Skipped, Warned
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.output_match import is_traceback, pattern_of, quote_end, remove_reply, shown_length, shows
from halloo._check.client.program import ClientProgram
from halloo._check.client.server import HOSTS, Behaviour, ClientConnection, Family, InstrumentedServer, Sockets
from halloo._check.client.udp_server import UdpBehaviour, UdpServer, refuse_all
from halloo._check.payload import difference
from halloo._check.spec import ClientSpec, Shape

CONNECT_TIMEOUT = 10.0  # seconds to connect and to send
OUTPUT_TIMEOUT = 3.0  # seconds from the reply to its appearance in the output
CLIENT_TIMEOUT = 7.0  # seconds within which a client must give up without a reply
EXIT_TIMEOUT = 1.0  # seconds for the client to exit after a blank line
QUIET_TIME, PROMPT_TIMEOUT = 0.2, 3.0  # seconds before typing without a prompt: after connecting; at most
END_OF_INPUT = "the end of the input"
MAX_COMPARED = 1 << 16  # bytes of a reply to search the output for
BOTH_FAMILIES: tuple[Family, ...] = (4, 6)


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass(slots=True)
class ClientTarget:
    """A client that can be started once, and the server that it connects to."""

    subject: ClientSpec
    loop: ScriptLoop
    sockets: Sockets
    seed: int
    host: str = HOSTS[4]
    longer: bool = False
    server: InstrumentedServer | None = None
    udp_server: UdpServer | None = None
    launched: ClientProgram | None = None
    lines_typed: int = 0
    ended_by: str = ""  # how the terminal session was ended: "a blank line" or END_OF_INPUT
    _output_at_eof: tuple[int, int] | None = None  # stdout and stderr lengths at Ctrl-D; later output is its effect
    _repeats_message: bool = False  # it prints its own message, which looks like the reply
    _prompt: bytes = b""
    _stdout_mark: int = 0  # lengths of stdout and stderr before the first reply
    _stderr_mark: int = 0
    _output_marked: bool = False
    _resources: list[_Closable] = field(default_factory=list)

    # Settings.

    @property
    def shape(self) -> Shape:
        return self.subject.shape

    @property
    def port(self) -> int:
        return int(next(iter(self.sockets.values())).getsockname()[1])

    @property
    def verifying(self) -> bool:
        """Whether the client claims to compare the reply with its message."""
        return self.subject.verifying

    @property
    def program(self) -> ClientProgram:
        assert self.launched  # noqa: S101 - every case starts it
        return self.launched

    def require_shape(self, *shapes: Shape, why: str) -> None:
        """Skip the case unless the client gets its message in one of these ways."""
        if self.shape not in shapes:
            raise Skipped(why)

    def random(self) -> Random:
        return Random(self.seed)  # noqa: S311 - not for secrets

    @property
    def default_message(self) -> str:
        """The message of most cases: the user's, or one word of letters and digits."""
        return self.subject.message or f"halloo{self.random().randrange(1000, 10_000)}echo"

    # Start.

    def serve(
        self,
        behaviour: Behaviour,
        *,
        text: str | None = None,
        families: tuple[Family, ...] = BOTH_FAMILIES,
        stdout_closed: bool = False,
    ) -> None:
        """Listen, with the behaviour for each connection, and start the client with a line of text."""
        line = self.default_message if text is None else text
        self._listen(behaviour, 0 if self.shape == "own" else len(line.encode())).listen(families)
        self.start(line, stdout_closed=stdout_closed)

    def serve_bytes(self, behaviour: Behaviour, data: bytes, *, buffer: int = 0) -> None:
        self._listen(behaviour, len(data), buffer).listen()
        self._launch(b"", stdout_closed=False)
        self.program.send_input(data, eof=True)

    def _listen(self, behaviour: Behaviour | None = None, expected: int = 0, buffer: int = 0) -> InstrumentedServer:
        self.server = InstrumentedServer(
            self.sockets, self.loop, behaviour, expected=expected, buffer=buffer, on_first_reply=self.mark_output
        )
        self._resources.append(self.server)
        return self.server

    def serve_udp(self, behaviour: UdpBehaviour, lines: Sequence[str] | None = None) -> UdpServer:
        """Serve UDP with the behaviour, and start the client with lines of text."""
        self.udp_server = UdpServer(self.sockets, self.loop, on_first_reply=self.mark_output)
        self._resources.append(self.udp_server)
        self.loop.start(behaviour(self.udp_server))
        self.start(*([self.default_message] if lines is None else lines))
        return self.udp_server

    def refuse_connections(self) -> None:
        if self.subject.scheme == "udp":
            refuse_all(self.sockets)
        else:
            self._listen()
        self.start(self.default_message)

    def fill_accept_queue(self) -> None:
        self._listen().listen_with_full_queue()
        self.start(self.default_message)

    def start(self, *lines: str, stdout_closed: bool = False) -> None:
        """Start the client with the lines: typed one by one, written to a pipe, or as an argument."""
        self._launch("\n".join(lines).encode(), stdout_closed=stdout_closed)
        if self.shape == "typed":
            self.loop.start(self._type_lines(lines))
        elif self.shape == "piped":
            self.program.send_input("".join(f"{line}\n" for line in lines).encode(), eof=True)

    def _launch(self, message: bytes, *, stdout_closed: bool) -> None:
        argv = self.subject.argv(host=self.host, port=self.port, message=message)
        self.launched = ClientProgram(self.loop, argv, self.shape, stdout_closed=stdout_closed)
        self._resources.insert(0, self.launched)

    def _type_lines(self, lines: Sequence[str]) -> Script:
        """Type each line once the client has handled the previous one; the case ends the session."""
        yield self.loop.condition_or_timeout(self._awaits_input, PROMPT_TIMEOUT)
        last_lines = (bytes(each).rpartition(b"\n")[2].strip() for each in (self.program.out, self.program.err))
        # Python prompts on standard error, others on standard output.
        self._prompt = next(filter(None, last_lines), b"")
        for line in lines:
            self.lines_typed += 1
            self.program.send_input(f"{line}\n".encode())
            yield self.loop.condition_or_timeout(lambda: self.prompted or self.program.ended, CLIENT_TIMEOUT)

    @property
    def _output(self) -> bytes:
        return bytes(self.program.out + self.program.err)

    def _awaits_input(self) -> bool:
        if self.program.out or self.program.err:
            return self._idle_time() >= QUIET_TIME / 4
        return bool(self.connections and self._idle_time() >= QUIET_TIME)

    def _idle_time(self) -> float:
        last_progress = [self.program.last_progress, *(each.last_progress for each in self.connections)]
        return self.loop.clock() - max(last_progress)

    @property
    def prompted(self) -> bool:
        return bool(self._prompt) and self._output.count(self._prompt) > self.lines_typed > 0

    # Observations.

    @property
    def connections(self) -> list[ClientConnection]:
        return self.server.connections if self.server else []

    def wait_connection(self) -> ClientConnection:
        self.loop.wait_until(lambda: bool(self.connections) or self.program.ended, CONNECT_TIMEOUT)
        if not self.connections:
            text = f"the client did not connect to port {self.port}; {self.describe()}"
            raise Failed(text, pattern="unconnected")
        return self.connections[0]

    def wait_message(self, timeout: float = CONNECT_TIMEOUT) -> ClientConnection:
        connection = self.wait_connection()
        self.loop.wait_until(lambda: any(each.received for each in self.connections) or self.program.ended, timeout)
        connection = next((each for each in self.connections if each.received), connection)
        if not connection.received:
            raise Failed(f"the client connected but sent nothing; {self.describe()}", pattern="silent")
        return connection

    @property
    def reply(self) -> bytes:
        """The bytes sent to the client, on the connection that has most of them."""
        if self.udp_server:
            return self.udp_server.sent[-1] if self.udp_server.sent else b""
        return max((bytes(connection.queued) for connection in self.connections), key=len, default=b"")

    def shows(self, reply: bytes) -> bool:
        return shows(self._output_after_reply(reply), reply)

    def _output_after_reply(self, reply: bytes) -> bytes:
        program = self.program
        output = bytes(program.out[self._stdout_mark :] + b"\n" + program.err[self._stderr_mark :])
        return remove_reply(output, reply) if self._repeats_message else output

    def mark_output(self) -> None:
        """Remember the output length before the first reply: a message printed as it is typed is no reply."""
        if not self._output_marked:
            self._output_marked = True
            self.program.drain_output()
            self._stdout_mark, self._stderr_mark = len(self.program.out), len(self.program.err)

    def expect_partial(self, pending: bool) -> None:
        """Set whether part of the reply is unsent: output that shows all of it then is the client's message."""
        self._repeats_message = pending
        if not pending:
            self.program.drain_output()
            self._repeats_message = self.shows(self.expected_output)

    @property
    def error_output(self) -> str:
        """Standard error without the prompt, up to the end of input."""
        output = bytes(self.program.err[: self._output_at_eof[1] if self._output_at_eof else None])
        return output.replace(self._prompt or b"\0", b"").decode(errors="replace").strip()

    @property
    def reports_error(self) -> bool:
        """Whether it wrote to standard error or failed, other than because of the end of input."""
        return bool(self.error_output or (self.program.exit_code and self.ended_by != END_OF_INPUT))

    def describe(self) -> str:
        program = self.program
        output = bytes(program.out + program.err).strip()
        description = f"it printed {quote_end(output)}" if output else "it printed nothing"
        if program.ended:
            return f"{description}, and {self.describe_exit()} after {program.duration:.1f} s"
        return f"{description}, and was still running after {self.loop.clock() - program.started_at:.1f} s"

    def describe_exit(self) -> str:
        code = self.program.exit_code or 0
        if code >= 0:
            return f"exited with code {code}"
        known = {*signal.Signals}  # real-time signals have no names
        return f"was killed by {signal.Signals(-code).name if -code in known else f'signal {-code}'}"

    # Checks.

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until the condition holds or the client has exited; return whether it holds."""
        self.loop.wait_until(lambda: condition() or self.program.ended, timeout)
        return condition()

    def end_session(self, timeout: float = CLIENT_TIMEOUT) -> bool:
        """End a terminal session with a blank line, then with Ctrl-D; return whether the client exited."""
        program = self.program
        if self.shape == "typed" and not program.ended:
            self.ended_by = "a blank line"
            program.send_input(b"\n")
            if not self.loop.wait_until(lambda: program.ended, EXIT_TIMEOUT):
                self.ended_by, self._output_at_eof = END_OF_INPUT, (len(program.out), len(program.err))
                program.send_input(b"", eof=True)
        return self.loop.wait_until(lambda: program.ended, timeout)

    def check_reply_shown(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Check that the output contains the whole reply; an early exit counts as not waiting for it."""
        self.wait_message()
        self.wait_until(lambda: any(connection.reply_sent for connection in self.connections), timeout)
        if not self.wait_until(lambda: self.shows(self.expected_output), OUTPUT_TIMEOUT):
            self.end_session(OUTPUT_TIMEOUT)
            if not self.shows(self.expected_output):
                raise self._not_shown(self.expected_output)

    @property
    def expected_output(self) -> bytes:
        """The bytes the client should print: those it sent, on the connection that has most of them."""
        return max((bytes(connection.received) for connection in self.connections), key=len, default=b"")

    def _not_shown(self, reply: bytes) -> Failed:
        count = shown_length(self._output_after_reply(reply), reply[:MAX_COMPARED])
        pattern = "traceback" if is_traceback(self.error_output) else pattern_of(count)
        reply_text = f"the reply is {quote_end(reply, 60)} ({len(reply):,} bytes); the output shows "
        return Failed(
            f"{reply_text}{f'only the first {count:,} bytes' if count else 'none of it'}; {self.describe()}",
            pattern=pattern,
        )

    def check_error_reported(
        self, decision_time: float = 1.5, exit_timeout: float = CLIENT_TIMEOUT, *, lossy: bool = False
    ) -> str:
        """Check that the client exits with an error message and a code other than 0.

        `decision_time` is the time to detect the error. Where data may be lost (`lossy`), a client that waited and
        printed a message only gets a warning for exit code 0.
        """
        program = self.program
        self.wait_until(lambda: self.prompted, decision_time)
        if not program.ended:
            self.loop.wait_until(lambda: program.ended, QUIET_TIME)
        if not self.end_session(exit_timeout):
            raise Failed(f"the client did not exit: {self.describe()}", pattern="hang")
        code = program.exit_code or 0
        if code == 0 or self.ended_by == END_OF_INPUT:  # the exit code after Ctrl-D means nothing
            if (self.ended_by and self.error_output) or (lossy and self.messages and program.duration > 1):
                raise Warned(f"the client reports the error but continues or exits with code 0: {self.describe()}")
            raise Failed(f"the client did not report the error: {self.describe()}", pattern="unnoticed")
        if code < 0 and -code != signal.SIGPIPE:
            raise Failed(f"the client {self.describe_exit()}: {self.describe()}", pattern="crash")
        if is_traceback(self.error_output):
            raise Warned(f"the client printed a traceback instead of an error message: {self.describe()}")
        if code < 0 or not self.messages:
            raise Warned(f"the client detected the error but printed no message: {self.describe()}")
        return f"exit code {code} after {program.duration:.1f} s: {quote_end(self.messages.encode(), 120)}"

    def check_completed(self, data: bytes, stall_timeout: float = 8.0) -> None:
        """Check that the client exits by itself and has printed a long reply; fail after a stall."""
        program = self.program
        while not program.ended:
            self.loop.run_for(0.05)
            idle = self._idle_time()
            if idle > 1 and len(program.out) >= len(data) and self.shows(data):
                return  # it waits for EOF without having sent its own: C17 covers that
            if idle > stall_timeout:
                received = sum(len(connection.received) for connection in self.connections)
                sent = sum(connection.sent for connection in self.connections)
                raise Failed(
                    f"stalled for {stall_timeout:g} s: of {len(data):,} bytes the server received {received:,} and "
                    f"sent back {sent:,}, and the client printed {len(program.out):,}",
                    pattern="stuck",
                )
        if not self.shows(data):
            raise self._incomplete_output(data)
        if program.exit_code:
            error = quote_end(self.error_output.encode())
            raise Failed(f"the client printed the whole reply, but {self.describe_exit()}: {error}")

    def _incomplete_output(self, data: bytes) -> Failed:
        output = bytes(self.program.out)
        if not data.startswith(output[:16]) or not output:
            return self._not_shown(data)
        # The payload's short lines locate a piece; `bulk_payload` had replaced their ends.
        text, pattern, offset = difference(data.replace(b".", b"\n"), output.replace(b".", b"\n"))
        if offset == len(output):
            text, pattern = f"the output shows only {offset:,} of {len(data):,} bytes", pattern_of(offset)
        stderr_text = f"; standard error: {quote_end(self.error_output.encode())}" if self.error_output else ""
        evidence = Evidence.at(offset, data, output)
        return Failed(f"{text}{stderr_text}, and {self.describe_exit()}", pattern=pattern, evidence=evidence)

    @property
    def messages(self) -> str:
        """Its own messages: output without the prompt and the reply."""
        if self.error_output:
            return self.error_output
        end = self._output_at_eof[0] if self._output_at_eof else None
        output = bytes(self.program.out[self._stdout_mark : end]).replace(self._prompt or b"\0", b"")
        output = output.replace(self.reply, b"") if self.reply else output
        return output.decode(errors="replace").strip()

    def close(self) -> None:
        self.loop.close()
        for each in (*self._resources, *self.sockets.values()):
            each.close()
