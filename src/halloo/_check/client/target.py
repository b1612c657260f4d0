"""What a client's case is given: the server to be, the client to start, and what is asked of both.

Knows the loop. A case begins with an act for each connection, starts the client, and then sees what it shows and how it
ends.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from halloo._check.case import Evidence, Failed, Skipped, Warned
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.output_match import extent, is_traceback, pattern_of, shown, tail, without
from halloo._check.client.program import ClientProgram
from halloo._check.client.server import HOSTS, Act, Family, InstrumentedServer, Peer, Sockets
from halloo._check.client.udp_server import Post, UdpServer, refuse_all
from halloo._check.payload import difference
from halloo._check.spec import ClientSpec, Shape

START = 10.0  # seconds to connect, and to send
SHOWN = 3.0  # seconds after the answer within which it is shown
GIVES_UP = 7.0  # seconds after which a client that got no answer has given up
LEAVES = 1.0  # seconds for a blank line to end it
QUIET, LATE = 0.2, 3.0  # seconds without a prompt after which one types: once it has connected, and at all
END_OF_INPUT = "the end of the input"
LONGEST = 1 << 16  # bytes of an answer whose beginning is looked for
BOTH: tuple[Family, ...] = (4, 6)


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass(slots=True)
class ClientTarget:
    """A client that can be started once, and the server that it will find."""

    subject: ClientSpec
    loop: ScriptLoop
    sockets: Sockets
    seed: int
    host: str = HOSTS[4]
    longer: bool = False
    server: InstrumentedServer | None = None
    letterbox: UdpServer | None = None
    started: ClientProgram | None = None
    typed: int = 0  # lines that were typed
    left: str = ""  # how a typing person had to end it: by a blank line, by the end of input
    _left_at: tuple[int, int] | None = None  # what it had printed by then: what comes of the end is our own doing
    _repeats: bool = False  # it prints its own message, and so seems to show what it has not got
    _prompt: bytes = b""
    _mark: int = 0  # what it printed before it got an answer shows none; and on standard error:
    _error_mark: int = 0
    _heard: bool = False
    _open: list[_Closable] = field(default_factory=list)

    # What is asked of whom.

    @property
    def shape(self) -> Shape:
        """How the message gets to the client."""
        return self.subject.shape

    @property
    def port(self) -> int:
        """Where the client finds its server."""
        return int(next(iter(self.sockets.values())).getsockname()[1])

    @property
    def verifying(self) -> bool:
        """Whether the client claims to compare."""
        return self.subject.verifying

    @property
    def program(self) -> ClientProgram:
        """The client."""
        assert self.started  # noqa: S101 - every case starts it
        return self.started

    def need(self, *shapes: Shape, why: str) -> None:
        """Skip what cannot be asked of a client of this shape."""
        if self.shape not in shapes:
            raise Skipped(why)

    def chance(self) -> Random:
        """Make the random source of this trial; the same seed makes the same one."""
        return Random(self.seed)  # noqa: S311 - it chooses what to do, and keeps no secret

    @property
    def text(self) -> str:
        """The gentlest message: one word of letters and digits, or what the user said."""
        return self.subject.message or f"halloo{self.chance().randrange(1000, 10_000)}echo"

    # The beginning.

    def serve(
        self, act: Act, *, text: str | None = None, families: tuple[Family, ...] = BOTH, deaf: bool = False
    ) -> None:
        """Listen, with an act for each connection, and start the client with a line of text."""
        line = self.text if text is None else text
        self._listen(act, 0 if self.shape == "own" else len(line.encode())).listen(families)
        self.start(line, deaf=deaf)

    def serve_bytes(self, act: Act, data: bytes, *, buffer: int = 0) -> None:
        """Listen, and start the client with these bytes in its pipe."""
        self._listen(act, len(data), buffer).listen()
        self._launch(b"", deaf=False)
        self.program.type(data, last=True)

    def _listen(self, act: Act | None = None, expected: int = 0, buffer: int = 0) -> InstrumentedServer:
        self.server = InstrumentedServer(self.sockets, self.loop, act, expected=expected, buffer=buffer, hear=self.hear)
        self._open.append(self.server)
        return self.server

    def receive(self, post: Post, lines: Sequence[str] | None = None) -> UdpServer:
        """Take datagrams, and start the client with lines of text."""
        self.letterbox = UdpServer(self.sockets, self.loop, hear=self.hear)
        self._open.append(self.letterbox)
        self.loop.play(post(self.letterbox))
        self.start(*([self.text] if lines is None else lines))
        return self.letterbox

    def refuse_connections(self) -> None:
        """Have the port without listening, and start the client."""
        if self.subject.scheme == "udp":
            refuse_all(self.sockets)
        else:
            self._listen()
        self.start(self.text)

    def be_full(self) -> None:
        """Listen with a queue that is full, and start the client."""
        self._listen().listen_full()
        self.start(self.text)

    def start(self, *lines: str, deaf: bool = False) -> None:
        """Start the client and give it the lines: typed one by one, all at once in a pipe, or as its argument."""
        self._launch("\n".join(lines).encode(), deaf=deaf)
        if self.shape == "typed":
            self.loop.play(self._person(lines))
        elif self.shape == "piped":
            self.program.type("".join(f"{line}\n" for line in lines).encode(), last=True)

    def _launch(self, message: bytes, *, deaf: bool) -> None:
        words = self.subject.argv(host=self.host, port=self.port, message=message)
        self.started = ClientProgram(self.loop, words, self.shape, deaf=deaf)
        self._open.insert(0, self.started)

    def _person(self, lines: Sequence[str]) -> Script:
        """Type the lines, each when the one before has been dealt with; leaving is decided by the case."""
        yield self.loop.soon(self._expects_input, LATE)
        lasts = (bytes(each).rpartition(b"\n")[2].strip() for each in (self.program.out, self.program.err))
        self._prompt = next(filter(None, lasts), b"")  # Python asks on standard error, others on standard output
        for line in lines:
            self.typed += 1
            self.program.type(f"{line}\n".encode())
            yield self.loop.soon(lambda: self.prompted or self.program.ended, GIVES_UP)

    @property
    def _printed(self) -> bytes:
        return bytes(self.program.out + self.program.err)

    def _expects_input(self) -> bool:
        quiet = self.loop.clock() - max([self.program.moved, *(peer.moved for peer in self.peers)])
        if self.program.out or self.program.err:
            return quiet >= QUIET / 4
        return bool(self.server and self.server.peers and quiet >= QUIET)

    @property
    def prompted(self) -> bool:
        """Whether it asks for another line after those that were typed."""
        return bool(self._prompt) and self._printed.count(self._prompt) > self.typed > 0

    # What happened.

    @property
    def peers(self) -> list[Peer]:
        """All connections of the client."""
        return self.server.peers if self.server else []

    def peer(self) -> Peer:
        """Wait for the client's connection."""
        self.loop.until(lambda: bool(self.peers) or self.program.ended, START)
        if not self.peers:
            raise Failed(f"it did not connect to port {self.port}; {self.story()}", pattern="unconnected")
        return self.peers[0]

    def asked(self, within: float = START) -> Peer:
        """Wait until the client has sent something."""
        peer = self.peer()
        self.loop.until(lambda: any(each.received for each in self.peers) or self.program.ended, within)
        peer = next((each for each in self.peers if each.received), peer)
        if not peer.received:
            raise Failed(f"it connected, but sent nothing; {self.story()}", pattern="silent")
        return peer

    @property
    def answer(self) -> bytes:
        """What it was given in answer, on the connection that got most."""
        if self.letterbox:
            return self.letterbox.given[-1] if self.letterbox.given else b""
        return max((bytes(peer.given) for peer in self.peers), key=len, default=b"")

    def shows(self, answer: bytes) -> bool:
        """Whether it shows this, printed after it was first answered."""
        return shown(self._printed_since(answer), answer)

    def _printed_since(self, answer: bytes) -> bytes:
        program = self.program
        printed = bytes(program.out[self._mark :] + b"\n" + program.err[self._error_mark :])
        return without(printed, answer) if self._repeats else printed

    def hear(self) -> None:
        """Note what it has printed up to its first answer: a message that it repeats as it is typed is none."""
        if not self._heard:
            self._heard = True
            self.program.read_now()
            self._mark, self._error_mark = len(self.program.out), len(self.program.err)

    def partly(self, owed: bool) -> None:
        """Note that it is owed a part of its answer, or no longer: what shows all of it before is its own message."""
        self._repeats = owed
        if not owed:
            self.program.read_now()
            self._repeats = self.shows(self.echo)

    @property
    def said(self) -> str:
        """What it has said on standard error, without its prompt, before its input was ended."""
        error = bytes(self.program.err[: self._left_at[1] if self._left_at else None])
        return error.replace(self._prompt or b"\0", b"").decode(errors="replace").strip()

    @property
    def complains(self) -> bool:
        """Whether it has said something on standard error or failed, if that is not for the end of its input."""
        return bool(self.said or (self.program.code and self.left != END_OF_INPUT))

    def story(self) -> str:
        """Say what it printed, and whether and how it ended."""
        program = self.program
        printed = bytes(program.out + program.err).strip()
        words = f"it printed {tail(printed)}" if printed else "it printed nothing"
        if program.ended:
            return f"{words}, and {self.ending()} after {program.seconds:.1f} s"
        return f"{words}, and had not ended after {self.loop.clock() - program.began:.1f} s"

    def ending(self) -> str:
        """Say how it ended."""
        code = self.program.code or 0
        if code >= 0:
            return f"ended with exit code {code}"
        known = {*signal.Signals}  # those of real time have no names
        return f"was ended by {signal.Signals(-code).name if -code in known else f'signal {-code}'}"

    # What is seen to.

    def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is true or the client has ended; whether it is true."""
        self.loop.until(lambda: true() or self.program.ended, seconds)
        return true()

    def leave(self, within: float = GIVES_UP) -> bool:
        """End it as a person would, with a blank line, then with Ctrl-D; whether it ended."""
        program = self.program
        if self.shape == "typed" and not program.ended:
            self.left = "a blank line"
            program.type(b"\n")
            if not self.loop.until(lambda: program.ended, LEAVES):
                self.left, self._left_at = END_OF_INPUT, (len(program.out), len(program.err))
                program.type(b"", last=True)
        return self.loop.until(lambda: program.ended, within)

    def see_shown(self, within: float = START) -> None:
        """See that it shows the whole echo, once it was given; a client that ends before has not waited for it."""
        self.asked()
        self.until(lambda: any(peer.answered for peer in self.peers), within)
        if not self.until(lambda: self.shows(self.echo), SHOWN):
            self.leave(SHOWN)
            if not self.shows(self.echo):
                raise self._hidden(self.echo)

    @property
    def echo(self) -> bytes:
        """What it should show: what it has sent, on the connection that got most."""
        return max((bytes(peer.received) for peer in self.peers), key=len, default=b"")

    def _hidden(self, answer: bytes) -> Failed:
        count = extent(self._printed_since(answer), answer[:LONGEST])
        pattern = "traceback" if is_traceback(self.said) else pattern_of(count)
        came = f"the answer is {tail(answer, 60)} ({len(answer):,} bytes), it shows "
        return Failed(
            f"{came}{f'the first {count:,} of them' if count else 'nothing of it'}; {self.story()}", pattern=pattern
        )

    def see_trouble_told(self, patience: float = 1.5, within: float = GIVES_UP, *, lossy: bool = False) -> str:
        """See that it ends, with a reason and an exit code that is not 0; `patience` is for its own decision.

        Where things may get lost (`lossy`), one that has waited and said so is only warned about its exit code.
        """
        program = self.program
        self.until(lambda: self.prompted, patience)
        if not program.ended:
            self.loop.until(lambda: program.ended, QUIET)
        if not self.leave(within):
            raise Failed(f"it waits for ever: {self.story()}", pattern="hang")
        code = program.code or 0
        if code == 0 or self.left == END_OF_INPUT:  # a client that is told to go says nothing by its code
            if (self.left and self.said) or (lossy and self.words and program.seconds > 1):
                raise Warned(f"it says what happened, but goes on, or ends with exit code 0: {self.story()}")
            raise Failed(f"it ended as if all were well: {self.story()}", pattern="unnoticed")
        if code < 0 and -code != signal.SIGPIPE:
            raise Failed(f"it {self.ending()}: {self.story()}", pattern="crash")
        if is_traceback(self.said):
            raise Warned(f"it noticed, but shows a traceback instead of saying what happened: {self.story()}")
        if code < 0 or not self.words:
            raise Warned(f"it noticed, but does not say what happened: {self.story()}")
        return f"exit code {code} after {program.seconds:.1f} s: {tail(self.words.encode(), 120)}"

    def see_finished(self, data: bytes, stuck: float = 8.0) -> None:
        """See that it ends by itself, and has shown all of a long answer; `stuck` is without a byte either way."""
        program = self.program
        while not program.ended:
            self.loop.pause(0.05)
            still = self.loop.clock() - max([program.moved, *(peer.moved for peer in self.peers)])
            if still > 1 and len(program.out) >= len(data) and self.shows(data):
                return  # it waits for an end that it has not asked for: C17 is about that
            if still > stuck:
                came = sum(len(peer.received) for peer in self.peers)
                went = sum(peer.sent for peer in self.peers)
                raise Failed(
                    f"stopped: of {len(data):,} bytes {came:,} came and {went:,} went back, {len(program.out):,} were "
                    f"printed, and then nothing for {stuck:g} s",
                    pattern="stuck",
                )
        if not self.shows(data):
            raise self._incomplete(data)
        if program.code:
            raise Failed(f"it showed all of the answer, but {self.ending()}: {tail(self.said.encode())}")

    def _incomplete(self, data: bytes) -> Failed:
        printed = bytes(self.program.out)
        if not data.startswith(printed[:16]) or not printed:
            return self._hidden(data)
        # Its lines are long; with short ones each piece tells where it belongs.
        text, pattern, place = difference(data.replace(b".", b"\n"), printed.replace(b".", b"\n"))
        if place == len(printed):
            text, pattern = f"only {place:,} of {len(data):,} bytes are shown", pattern_of(place)
        said = f"; it said {tail(self.said.encode())}" if self.said else ""
        evidence = Evidence.at(place, data, printed)
        return Failed(f"{text}{said}, and {self.ending()}", pattern=pattern, evidence=evidence)

    @property
    def words(self) -> str:
        """What it said that is neither its prompt nor the answer."""
        if self.said:
            return self.said
        text = bytes(self.program.out[self._mark : self._left_at[0] if self._left_at else None]).replace(
            self._prompt or b"\0", b""
        )
        rest = text.replace(self.answer, b"") if self.answer else text
        return rest.decode(errors="replace").strip()

    def close(self) -> None:
        """End the client and the server."""
        self.loop.close()
        for each in (*self._open, *self.sockets.values()):
            each.close()
