"""What a client case works with: the server's sockets, the client to start, and what is observed of both.

A case sets a behaviour for each connection, starts the client, then checks the output and the exit (see `checks`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from socket import AddressFamily

from halloo._check.case import Case, Evidence, Failed, Skipped
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.output_match import MIN_SHOWN, quote_end, remove_reply, shows
from halloo._check.client.program import ClientProgram
from halloo._check.client.server import Behaviour, ClientConnection, InstrumentedServer, UdpBehaviour, UdpServer
from halloo._check.payload import common_length
from halloo._check.processes import cpu_demand, signal_name
from halloo._check.sockets import HOSTS, Sockets
from halloo._check.spec import ClientSpec, Shape

CONNECT_TIMEOUT = 10.0  # seconds to connect and to send
OUTPUT_TIMEOUT = 3.0  # seconds from the reply to its appearance in the output
CLIENT_TIMEOUT = 7.0  # seconds to exit once the session has ended
GIVE_UP_TIMEOUT = 12.0  # seconds within which a client must give up without a reply
EXIT_TIMEOUT = 1.0  # seconds for the client to exit after a blank line
WORD_TIMEOUT = 0.3  # seconds that a client that ends at a word is given before the word is echoed
REACTION_TIME = 0.5  # seconds for the client to react to what it has received
WORDS = ("exit", "quit", "bye")  # after a blank line: the words at which clients of courses end
QUIET_TIME, PROMPT_TIMEOUT = 0.2, 3.0  # seconds before typing without a prompt: after connecting; at most
BUSY_TIME = 0.5  # seconds to measure the use of the processor
END_OF_INPUT = "the end of the input"
ANY_TEXT = "needs a client that sends any text, and this one has messages of its own"


@dataclass(slots=True)
class ClientTarget:
    """A client that can be started once, and the server that it connects to."""

    subject: ClientSpec
    loop: ScriptLoop
    sockets: Sockets
    seed: int
    host: str = HOSTS[AddressFamily.AF_INET]
    server: InstrumentedServer | None = None
    udp_server: UdpServer | None = None
    launched: ClientProgram | None = None
    ended_by: str = ""  # how the terminal session was ended: "a blank line", "the word 'exit'" or END_OF_INPUT
    lines_typed: int = 0
    first_piece: int = 0  # length of the first piece of a reply that is sent in pieces
    _output_at_eof: tuple[int | None, int | None] = (
        None,
        None,
    )  # stdout and stderr lengths; later output is its effect
    _repeats_message: bool = False  # it prints its own message, which looks like the reply
    _prompt: bytes = b""
    _exchanged: tuple[bytes, bytes] | None = None  # message and reply before the session was ended
    _marks: tuple[int, int] = field(default=(0, 0))  # lengths of stdout and stderr before the first reply
    _output_marked: bool = False

    @property
    def shape(self) -> Shape:
        return self.subject.shape

    @property
    def port(self) -> int:
        return int(next(iter(self.sockets.values())).getsockname()[1])

    @property
    def program(self) -> ClientProgram:
        assert self.launched  # noqa: S101 - every case starts it
        return self.launched

    def require_shape(self, *shapes: Shape, why: str) -> None:
        """Skip the case unless the client gets its message in one of these ways."""
        if self.shape not in shapes:
            raise Skipped(why)

    def require_output(self) -> None:
        """Skip the case for a client that prints nothing."""
        if not self.subject.prints:
            raise Skipped("needs a client that prints the bytes of the reply")

    # Start.

    def serve(
        self,
        behaviour: Behaviour | None,
        *,
        text: str | None = None,
        families: tuple[AddressFamily, ...] = (),
        stdout_closed: bool = False,
    ) -> None:
        """Listen, with the behaviour for each connection, and start the client with a line of text."""
        if text is not None and self.subject.messages:
            raise Skipped(ANY_TEXT)
        line = self._default_message if text is None else text
        expected = len(line.encode()) if self.shape != "own" and self.subject.prints else 0
        if self.subject.messages:
            expected = len(self.subject.messages.message(0).request)
        self._serve(behaviour, expected).listen(*families)
        self._start(line, stdout_closed=stdout_closed)

    def serve_bytes(self, behaviour: Behaviour, data: bytes, *, buffer: int = 0) -> None:
        """Listen, with the behaviour for each connection, and start the client with bytes in its pipe."""
        if self.subject.messages:
            raise Skipped(ANY_TEXT)
        self._serve(behaviour, len(data), buffer).listen()
        self._launch("")
        self.program.max_output += 4 * len(data)  # it may print the message as well, and escape bytes
        self.program.send_input(data, eof=True)

    def _serve(self, behaviour: Behaviour | None = None, expected: int = 0, buffer: int = 0) -> InstrumentedServer:
        self.server = InstrumentedServer(
            self.sockets,
            self.loop,
            behaviour,
            expected=expected,
            buffer=buffer,
            on_first_reply=self._mark_output,
            messages=self.subject.messages,
        )
        return self.server

    def serve_udp(self, behaviour: UdpBehaviour, lines: Sequence[str] | None = None) -> UdpServer:
        """Serve UDP with the behaviour, start the client with lines of text, and wait for its first datagram."""
        messages = self.subject.messages
        server = self.udp_server = UdpServer(self.sockets, self.loop, self._mark_output, messages)
        self.loop.start(behaviour(server))
        if messages and lines:
            lines = [messages.message(number).typed or self.subject.message for number in range(len(lines))]
        self._start(*([self._default_message] if lines is None else lines))
        if not self.wait_until(lambda: bool(server.received), CONNECT_TIMEOUT):
            unconnected = "unconnected " if self.program.exit_code else ""
            text = f"no datagram arrived at port {self.port}; {self.describe()}"
            raise Failed(text, pattern=f"{unconnected}nothing-sent {self.words}")
        if messages and messages.reply_to(server.received[0].data) is None:
            raise self._other_request(server.received[0].data)
        return server

    def refuse_connections(self, *, full_queue: bool = False) -> None:
        """Start the client without listening, or with a full accept queue."""
        if full_queue:
            self._serve().listen_with_full_queue()
        elif self.subject.scheme == "udp":
            for sock in self.sockets.values():  # connected, it accepts datagrams from its one remote address only
                sock.connect((sock.getsockname()[0], 1))
        self._start(self._default_message)

    @property
    def _default_message(self) -> str:
        """The message of most cases: the user's, or one word of letters and digits."""
        if self.subject.messages and (typed := self.subject.messages.message(0).typed):
            return typed
        return self.subject.message or f"halloo{Random(self.seed).randrange(1000, 10_000)}echo"  # noqa: S311 - no secret

    def _start(self, *lines: str, stdout_closed: bool = False) -> None:
        """Start the client with the lines: typed one by one, written to a pipe, or as an argument."""
        self._launch("\n".join(lines), stdout_closed=stdout_closed)
        if self.shape == "typed":
            self.loop.start(self._type_lines(lines))
        elif self.shape == "piped":
            self.program.send_input("".join(f"{line}\n" for line in lines).encode(), eof=True)

    def _launch(self, message: str, *, stdout_closed: bool = False) -> None:
        message = os.fsdecode(message.encode())  # UTF-8 in every locale
        argv = self.subject.argv(host=self.host, port=str(self.port), msg=message)
        self.launched = ClientProgram(self.loop, argv, self.shape, stdout_closed=stdout_closed)

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

    def _awaits_input(self) -> bool:
        if self.program.out or self.program.err:
            return self.idle_time >= QUIET_TIME / 4
        return bool(self.connections and self.idle_time >= QUIET_TIME)

    @property
    def idle_time(self) -> float:
        last_progress = [self.program.last_progress, *(each.last_progress for each in self.connections)]
        return self.loop.clock() - max(last_progress)

    # Connections.

    @property
    def connections(self) -> list[ClientConnection]:
        return self.server.connections if self.server else []

    @property
    def reply(self) -> bytes:
        """The bytes sent to the client, on the connection that has most of them."""
        if self._exchanged:
            return self._exchanged[1]
        if self.udp_server:
            return self.udp_server.sent[-1] if self.udp_server.sent else b""
        return max((bytes(connection.queued) for connection in self.connections), key=len, default=b"")

    @property
    def expected_output(self) -> bytes:
        """The bytes the client should print: those it sent, on the connection that has most of them."""
        if self._exchanged:
            return self._exchanged[0]
        return max((bytes(connection.received) for connection in self.connections), key=len, default=b"")

    def wait_connection(self) -> ClientConnection:
        if not self.wait_until(lambda: bool(self.connections), CONNECT_TIMEOUT):
            text = f"the client did not connect to port {self.port}; {self.describe()}"
            raise Failed(text, pattern=f"unconnected {self.words}")
        return self.connections[0]

    def wait_message(self) -> ClientConnection:
        """Wait for a connection on which the client has sent something. Raises Failed."""
        self.wait_connection()
        if not self.wait_until(lambda: any(each.received for each in self.connections), CONNECT_TIMEOUT):
            text = f"the client connected but sent nothing; {self.describe()}"
            raise Failed(text, pattern=f"nothing-sent {self.words}")
        return next(each for each in self.connections if each.received)

    def wait_request(self) -> None:
        """Check that the first message is that of the protocol."""
        connection, messages = self.wait_message(), self.subject.messages
        if messages:
            request = messages.message(0).request
            self.wait_until(lambda: len(connection.received) >= len(request), OUTPUT_TIMEOUT)
            if not connection.received.startswith(request):
                raise self._other_request(bytes(connection.received))

    def _other_request(self, received: bytes) -> Failed:
        assert self.subject.messages  # noqa: S101 - it is called with them only
        request = self.subject.messages.message(0).request
        text = (
            f"the client sent {received[:64]!r}, and the first message of {self.subject.messages} is {request[:64]!r}"
        )
        evidence = Evidence.at(common_length(request, received), request, received)
        return Failed(f"{text}; {self.describe()}", pattern="other-request", evidence=evidence)

    @property
    def all_read(self) -> bool:
        """Whether the client has read the whole reply."""
        return any(each.reply_sent and each.read_by_client and each.end != "RST" for each in self.connections)

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until the condition holds or the client has exited; return whether it holds."""
        self.loop.wait_until(lambda: condition() or self.program.ended, timeout)
        return condition()

    def end_session(self, timeout: float = CLIENT_TIMEOUT) -> bool:
        """End a terminal session: a blank line, then words, then Ctrl-D; return whether the client exited."""
        program = self.program
        if self.shape == "typed" and not program.ended and not self.ended_by:
            self._exchanged = self.expected_output, self.reply
            if not self._ends_at("", "a blank line"):
                if not self.prompted:  # some wait for the reply to an empty line
                    self.answer_nothing()
                if not self.ends_at_word() and not program.ended:
                    self.ended_by, self._output_at_eof = END_OF_INPUT, (len(program.out), len(program.err))
                    program.send_input(b"", eof=True)
        return self.loop.wait_until(lambda: program.ended, timeout)

    def ends_at_word(self) -> bool:
        """Type the words at which many clients end, at each prompt; return whether one of them ended the client."""
        for word in WORDS:
            if not self.prompted and (self._prompt or not (self.connections or self.udp_server)):
                return False
            if self._ends_at(word, f"the word {word!r}"):
                return True
        return False

    def _ends_at(self, line: str, name: str) -> bool:
        """Type a line that is no message; return whether the client exits. Its echo comes late, or would be unread."""
        self.ended_by = name
        self.lines_typed += 1
        for connection in self.connections:
            connection.hold()
        self.program.send_input(f"{line}\n".encode())
        for timeout in (WORD_TIMEOUT, REACTION_TIME if line else EXIT_TIMEOUT):
            self.loop.wait_until(lambda: self.program.ended or self.prompted, timeout)
            if self.program.ended:
                return True
            for connection in self.connections:
                connection.release()
        return False

    def answer_nothing(self) -> bool:
        """Send a line end that answers no message; return whether the client was waiting for it."""
        for connection in self.connections:
            connection.send_line_end()
        return self.loop.wait_until(lambda: self.program.ended or self.prompted, REACTION_TIME)

    # Output.

    @property
    def prompted(self) -> bool:
        output = bytes(self.program.out + self.program.err)
        return bool(self._prompt) and output.count(self._prompt) > self.lines_typed > 0

    def shows(self, reply: bytes) -> bool:
        return shows(self.output_after_reply(reply), reply)

    def output_after_reply(self, reply: bytes) -> bytes:
        program = self.program
        output = bytes(program.out[self._marks[0] :] + b"\n" + program.err[self._marks[1] :])
        return remove_reply(output, reply) if self._repeats_message else output

    def without_prompts(self, output: bytes) -> bytes:
        return output.replace(self._prompt, b" ") if len(self._prompt) >= MIN_SHOWN else output

    def _mark_output(self) -> None:
        """Remember the output length before the first reply: a message printed as it is typed is no reply."""
        if not self._output_marked:
            self._output_marked = True
            self.program.drain_output()
            self._marks = len(self.program.out), len(self.program.err)

    def expect_partial(self, pending: bool) -> None:
        """Set whether part of the reply is unsent: output that shows all of it then is the client's message."""
        self._repeats_message = pending
        if not pending:
            self.program.drain_output()
            self._repeats_message = self.shows(self.expected_output)

    @property
    def error_output(self) -> str:
        """Standard error without the prompt, up to the end of input."""
        return self._text_of(self.program.err[: self._output_at_eof[1]])

    @property
    def messages(self) -> str:
        """Its own messages: output without the prompt and the reply."""
        output = bytes(self.program.out[self._marks[0] : self._output_at_eof[0]])
        return self.error_output or self._text_of(output, self.reply)

    def _text_of(self, output: bytes | bytearray, reply: bytes = b"") -> str:
        for part in filter(None, (self._prompt, reply)):
            output = output.replace(part, b"")
        return output.decode(errors="replace").strip()

    @property
    def reports_error(self) -> bool:
        """Whether it wrote to standard error or failed, other than because of the end of input."""
        return bool(self.error_output or (self.program.exit_code and self.ended_by != END_OF_INPUT))

    def describe(self) -> str:
        program = self.program
        output = bytes(program.out[: self._output_at_eof[0]] + program.err[: self._output_at_eof[1]]).strip()
        description = f"it printed {quote_end(output)}" if output else "it printed nothing"
        if program.ended:
            return f"{description}, and {self.describe_exit()} after {program.duration:.1f} s"
        return f"{description}, and was still running after {self.loop.clock() - program.started_at:.1f} s"

    def describe_exit(self) -> str:
        code = self.program.exit_code or 0
        if self.ended_by == END_OF_INPUT:  # what it does then is no part of the case
            return "exited at the end of its input (Ctrl-D)"
        by = f" at {self.ended_by}" if self.ended_by else ""
        return f"exited with code {code}{by}" if code >= 0 else f"was killed by {signal_name(-code)}{by}"

    @property
    def words(self) -> str:
        """What was seen of its end, as a word of a pattern: `exit-0`, `waits`, `spins`, SIGSEGV, ..."""
        if not self.loop.wait_until(lambda: self.program.ended, QUIET_TIME):
            return "spins" if self._is_busy() else "waits"
        if self.ended_by == END_OF_INPUT:
            return "ended-at-eof"
        code = self.program.exit_code or 0
        return f"exit-{code}" if code >= 0 else signal_name(-code).replace(" ", "-")

    def _is_busy(self) -> bool:
        """Whether it computes instead of waiting."""
        pids = self.program.tree.running()
        before = sum(map(cpu_demand, pids))
        self.loop.run_for(BUSY_TIME)
        return sum(map(cpu_demand, pids)) - before > BUSY_TIME / 4

    def close(self) -> None:
        self.loop.close()
        for each in (self.launched, self.server, self.udp_server, *self.sockets.values()):
            if each:
                each.close()


case = Case[ClientTarget]
