"""What a server does with a few inputs, as facts: evidence for the cause of a failure, and for its kind of server.

Uses clients. Runs only after a first case has failed. Each fact is something that was received, or that did not arrive
within a time: a probe never guesses. The facts of TCP servers are

    speaks-first         it sent bytes before it was sent any; `closes-first`: it then ended the connection
    closes-unasked       it ended the connection before it was sent anything, without a word
    answers              a line was answered; `echoes`: with the same bytes
    upper lower reversed newline-dropped other-bytes          ... with others
    closes-after-reply   the connection ended after the reply to a line
    answers-at-end       a line was answered only after the client's end of file; `answers-in-blocks`: or once
                         enough lines had been sent
    closes-unanswered    it ended the connection when it was sent a line, without a reply
    mute                 neither a line nor the end of file was answered; `nothing-returns`: nor were many lines;
                         `reaches-others`: another client received them
    waits-for-newline    bytes without a newline were answered only when the newline had been sent
    blanks-dropped cut-at-nul non-ascii-changed invalid-utf8-changed    a line with such bytes came back otherwise
    first-bytes-only     of a message sent at once only the first bytes came back
    ends-at-word         it ended the connection when it was sent `exit`, and not at the end of file

and those of UDP servers are the ones of them about replies, and `lossy`: some of several datagrams were answered.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from halloo._check.case import Failed
from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget
from halloo._check.server.udp_client import UdpClient

LINE, SECOND_LINE = b"Hello, 1st line\n", b"And a 2nd one\n"
WORDS = b"two  words"
QUIET_TIME = 0.4  # seconds of silence that a server is given before it is sent anything
REPLY_TIME = 2.0  # seconds to reply
SETTLE_TIME = 0.2  # seconds without further bytes after which a reply counts as complete
MESSAGE = 1400  # bytes that arrive in one segment
BLOCKS = 64 * 1024  # more than the usual buffers of buffered streams
ATTEMPTS = 8  # datagrams, of which a server that drops on purpose answers some
EXIT_WORD = b"exit\n"
MAX_QUOTED = 60  # bytes


@dataclass(slots=True)
class Facts:
    """What was seen; `sent` and `received` of the first exchange, for the sentence about the kind of server."""

    names: set[str] = field(default_factory=set)
    greeting: bytes = b""
    reply: bytes = b""

    @property
    def kind(self) -> str:
        """One sentence if this is no echo server, empty if it may be one."""
        return next((describe(self) for name, describe in _KINDS.items() if name in self.names), "")


def _quote(data: bytes) -> str:
    return repr(data[:MAX_QUOTED])[1:] + ("..." if len(data) > MAX_QUOTED else "")


OTHER_MESSAGES = (
    "if it expects other messages than lines of text, name them: halloo check server --messages MODULE:FUNCTION"
)


def _other_bytes(expect: str) -> Callable[[Facts], str]:
    return lambda facts: (
        f"other bytes came back: sent {_quote(LINE)}, received {_quote(facts.reply)}; if that is what this server is "
        f"for, say so: halloo check server --expect {expect}"
    )


_KINDS: dict[str, Callable[[Facts], str]] = {
    "closes-first": lambda facts: (
        f"this is no echo server: it spoke first and closed (it sent {_quote(facts.greeting)} and ended the connection "
        "before it was sent anything, as a time server does)"
    ),
    "speaks-first": lambda facts: (
        f"it spoke first: it sent {_quote(facts.greeting)} before it was sent anything; if that is a greeting of "
        "one line, say so: halloo check server --greeting"
    ),
    "closes-unasked": lambda _: "this is no echo server: it ended the connection before it was sent anything",
    "closes-unanswered": lambda _: (
        f"it ended the connection without a reply when it was sent {_quote(LINE)}; {OTHER_MESSAGES}"
    ),
    "reaches-others": lambda _: (
        f"this is no echo server: what one client sent ({_quote(LINE)}) was received by another, as in a chat"
    ),
    "nothing-returns": lambda _: (
        f"nothing returns to the sender: neither {_quote(LINE)} nor the end of the input was answered; {OTHER_MESSAGES}"
    ),
    "upper": _other_bytes("upper"),
    "lower": _other_bytes("lower"),
    "reversed": _other_bytes("reverse"),
    "other-bytes": _other_bytes("MODULE:FUNCTION"),
}


def probe(fresh: Callable[[], ServerTarget]) -> Facts:
    """Probe a server; `fresh` returns a target for each probe, newly started where that is possible."""
    facts = Facts()
    with suppress(Failed):  # what it could not see is no fact
        target = fresh()
        for step in _DATAGRAM_PROBES if target.spec.scheme == "udp" else _STREAM_PROBES:
            with suppress(Failed):  # as above
                step(target, facts)
            if facts.kind:
                break
            target = fresh()
    return facts


def _read(client: StreamClient, within: float, settle: float = SETTLE_TIME) -> tuple[bytes, bool]:
    """Receive until nothing comes for a while; return the bytes, and whether the stream has ended."""
    received, deadline = bytearray(), client.clock() + within
    while True:
        try:
            piece = client.receive_some()
        except Failed:
            return bytes(received), True
        if piece == b"":
            return bytes(received), True
        if piece:
            received += piece
            deadline = client.clock() + settle
        elif (left := deadline - client.clock()) <= 0:
            return bytes(received), False
        else:
            client.wait(left)


def _exchange(client: StreamClient, data: bytes, within: float = REPLY_TIME) -> tuple[bytes, bool]:
    client.send(data)
    return _read(client, within)


def _greets(target: ServerTarget, facts: Facts) -> None:
    with target.connect() as client:
        facts.greeting, ended = _read(client, QUIET_TIME)
    if facts.greeting:
        facts.names |= {"speaks-first", *(["closes-first"] if ended else [])}
    elif ended:
        facts.names.add("closes-unasked")


def _answers(target: ServerTarget, facts: Facts) -> None:
    expected = target.spec.expected_reply(LINE)
    with target.connect() as client:
        reply, ended = _exchange(client, LINE)
        if reply:
            facts.reply = reply
            facts.names |= {"answers", *_compare(reply, LINE, expected)}
            if ended or not _goes_on(client):
                facts.names.add("closes-after-reply")
        elif ended:
            facts.names.add("closes-unanswered")
        else:
            client.half_close()
            facts.reply, _ = _read(client, REPLY_TIME)
            facts.names |= {"answers-at-end", *_compare(facts.reply, LINE, expected)} if facts.reply else {"mute"}


def _compare(reply: bytes, sent: bytes, expected: bytes) -> set[str]:
    line = sent.rstrip(b"\n")
    if reply == expected:
        return {"echoes"}
    if reply == expected.rstrip(b"\n"):
        return {"newline-dropped"}
    forms = {"upper": line.upper(), "lower": line.lower(), "reversed": line[::-1]}
    for name, form in forms.items():
        if reply.strip() == form:
            return {name}
    # A reply with the message in it, or a part of it, is an echo with a mistake.
    return set() if line in reply or reply.rstrip(b"\n") in line else {"other-bytes"}


def _goes_on(client: StreamClient) -> bool:
    """Whether a second line is answered; a connection that stays open without an answer counts too."""
    try:
        reply, ended = _exchange(client, SECOND_LINE)
    except Failed:
        return False
    return bool(reply) or not ended


def _returns_otherwise(target: ServerTarget, facts: Facts) -> None:
    """Whether a server that does not answer a line answers many, or passes it on to another client."""
    if not facts.names & {"mute", "answers-at-end"}:
        return
    with target.connect() as client, target.connect() as other:
        client.send_until_blocked(LINE * (BLOCKS // len(LINE)))
        answered = _read(client, REPLY_TIME)[0]
        client.send_some(LINE)  # by now the server has accepted the other client as well
        reached = LINE.rstrip() in _read(other, SETTLE_TIME)[0]
    if answered:
        facts.names.add("answers-in-blocks")
    elif "mute" in facts.names:
        facts.names |= {"nothing-returns", *(["reaches-others"] if reached else [])}


def _echoes(facts: Facts) -> bool:
    """Whether a line comes back before the end of the stream, with or without its newline."""
    return "answers" in facts.names and bool(facts.names & {"echoes", "newline-dropped"})


def _newline(target: ServerTarget, facts: Facts) -> None:
    if "answers" not in facts.names:
        return
    with target.connect() as client:
        reply, ended = _exchange(client, WORDS)
        if not reply and not ended and (reply := _exchange(client, b"\n")[0]):
            facts.names.add("waits-for-newline")


def _line_with(data: bytes, name: str, is_mistake: Callable[[bytes], bool]) -> Callable[[ServerTarget, Facts], None]:
    """Send a line with particular bytes; the fact is that it came back in a particular way."""

    def run(target: ServerTarget, facts: Facts) -> None:
        if not _echoes(facts):
            return
        with target.connect() as client:
            reply, ended = _exchange(client, data)
            if (reply or ended) and is_mistake(reply):
                facts.names.add(name)

    return run


def _differs_from(data: bytes) -> Callable[[bytes], bool]:
    return lambda reply: reply.rstrip(b"\n") != data.rstrip(b"\n")


def _first_bytes(target: ServerTarget, facts: Facts) -> None:
    if not _echoes(facts):
        return
    data = (b"0123456789abcdef" * (MESSAGE // 16))[: MESSAGE - 1] + b"\n"
    with target.connect() as client:
        reply, _ = _exchange(client, data)
        if reply and len(reply) < len(data) - 1 and data.startswith(reply):
            with suppress(Failed):  # the connection has ended
                reply += _exchange(client, b"\n")[0]
            if len(reply) < len(data) - 1:
                facts.names |= {"first-bytes-only", f"at-{len(reply)}"}


def _ends_at_word(target: ServerTarget, facts: Facts) -> None:
    """Whether `exit` ends a connection that the end of file does not end."""
    if not _echoes(facts) or "closes-after-reply" in facts.names:
        return
    with target.connect() as client:
        _exchange(client, LINE)
        client.half_close()
        if _read(client, REPLY_TIME)[1]:
            return
    with target.connect() as client:
        _exchange(client, LINE)
        if _exchange(client, EXIT_WORD)[1]:
            facts.names.add("ends-at-word")


_STREAM_PROBES = (
    _greets,
    _answers,
    _returns_otherwise,
    _newline,
    _line_with(b"  two  words  \n", "blanks-dropped", lambda reply: reply.strip() == WORDS and reply[:1] != b" "),
    _line_with(b"before\0after\n", "cut-at-nul", lambda reply: reply.rstrip(b"\n") == b"before"),
    _line_with("żółw\n".encode(), "non-ascii-changed", _differs_from("żółw\n".encode())),
    _line_with(b"caf\xe9 \xff end\n", "invalid-utf8-changed", _differs_from(b"caf\xe9 \xff end\n")),
    _first_bytes,
    _ends_at_word,
)


# Datagrams.


def _replies(client: UdpClient, data: bytes, times: int = 1) -> Iterator[bytes]:
    for _ in range(times):
        client.send(data)
        if found := client.receive_from(REPLY_TIME / times + SETTLE_TIME):
            yield found[0]


def _datagram_answers(target: ServerTarget, facts: Facts) -> None:
    with target.udp_client() as client:
        replies = [*_replies(client, LINE, ATTEMPTS)]
    if not replies:
        facts.names.add("nothing-returns")
        return
    facts.reply = replies[0]
    facts.names |= {"answers", *_compare(replies[0], LINE, target.spec.expected_reply(LINE))}
    if len(replies) < ATTEMPTS:
        facts.names.add("lossy")


def _datagram_with(data: bytes, name: str) -> Callable[[ServerTarget, Facts], None]:
    def run(target: ServerTarget, facts: Facts) -> None:
        if not _echoes(facts):
            return
        with target.udp_client() as client:
            replies = [*_replies(client, data)]
        if replies and replies[0].rstrip(b"\n") != data.rstrip(b"\n"):
            facts.names.add(name)

    return run


_DATAGRAM_PROBES = (
    _datagram_answers,
    _datagram_with("żółw\n".encode(), "non-ascii-changed"),
    _datagram_with(b"caf\xe9 \xff end\n", "invalid-utf8-changed"),
)
