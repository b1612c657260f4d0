"""What client cases check: the whole reply is shown, an error is reported, a long exchange completes.

Uses a `ClientTarget` only. A failure says what was seen, in words for people and in those of a pattern; where a client
does not go on, the server gives it what it may be waiting for.
"""

import signal
from collections.abc import Callable

from halloo._check.case import Evidence, Failed, Skipped, Warned
from halloo._check.client.output_match import (
    is_traceback,
    mentions_error,
    pattern_of,
    quote_end,
    shown_length,
    shows_in_order,
)
from halloo._check.client.server import ClientConnection
from halloo._check.client.target import (
    CLIENT_TIMEOUT,
    CONNECT_TIMEOUT,
    END_OF_INPUT,
    EXIT_TIMEOUT,
    OUTPUT_TIMEOUT,
    QUIET_TIME,
    ClientTarget,
)
from halloo._check.payload import difference

DECISION_TIME = 1.5  # seconds to notice an error
STALL_TIMEOUT = 8.0  # seconds without any bytes after which an exchange has stalled
MAX_COMPARED = 1 << 16  # bytes of a reply to search the output for
REPLACEMENT = "\ufffd".encode()  # what decoding with errors="replace" makes of bytes that are no text
READS_NO_REPLY = "the client closes without reading a reply"
# What a client may wait for once it has the whole reply, and how the server gives it that.
AWAITED = {
    "waits-for-newline": ("the server has sent a line end", ClientConnection.send_line_end),
    "waits-for-end": ("the server has ended the stream", ClientConnection.shutdown_write),
}


def check_reply_shown(target: ClientTarget) -> None:
    """Check that the output contains the whole reply; an early exit counts as not waiting for it."""
    if not target.subject.prints:
        check_reply_read(target)
        return
    target.wait_message()
    replied = target.wait_until(lambda: any(each.reply_sent for each in target.connections), CONNECT_TIMEOUT)

    def shown() -> bool:
        reply = target.expected_output
        in_pieces = bool(target.first_piece) and target.all_read  # each may have a label, and no line end
        return target.shows(reply) or (in_pieces and shows_in_order(target.output_after_reply(reply), reply))

    if target.wait_until(shown, OUTPUT_TIMEOUT):
        return
    all_read = target.all_read
    awaited = "" if target.prompted or _shown_length(target) else awaits(target, shown)
    if not awaited and not (target.prompted and _shown_length(target)):  # some print all at the end
        target.end_session(OUTPUT_TIMEOUT)
        if shown():
            return
    raise _not_shown(target, awaited if replied else "ended-early", all_read=all_read)


def _shown_length(target: ClientTarget) -> int:
    reply = target.expected_output
    return shown_length(target.without_prompts(target.output_after_reply(reply)), reply[:MAX_COMPARED])


def awaits(target: ClientTarget, goes_on: Callable[[], bool]) -> str:
    """Find out what a client waits for although it has the whole reply; empty if it is nothing of `AWAITED`."""
    if target.program.ended:
        return ""
    for word, (_, act) in AWAITED.items():
        for connection in target.connections:
            act(connection)
        if target.loop.wait_until(goes_on, EXIT_TIMEOUT):
            return word
    return ""


def _not_shown(target: ClientTarget, pattern: str = "", *, all_read: bool = False) -> Failed:
    reply = target.expected_output
    count = 0 if pattern in AWAITED else _shown_length(target)
    words = [pattern, pattern_of(count), target.words]
    if count and count == target.first_piece and not all_read:
        words.append("first-piece")
    if REPLACEMENT in target.program.out:
        words.append("replaced")
    if not count and any(connection.end == "RST" for connection in target.connections):
        words.append("closed-unread")
    shown = f"only the first {count:,} bytes" if count else "none of it"
    if pattern in AWAITED:
        shown += f" until {AWAITED[pattern][0]}"
    text = f"the reply is {quote_end(reply, 60)} ({len(reply):,} bytes); the output shows {shown}"
    return Failed(f"{text}; {target.describe()}", pattern=" ".join(filter(None, words)))


def check_reply_read(target: ClientTarget, *, sender: bool = False) -> None:
    """Check that a client that prints nothing reads the whole reply, and ends without an error.

    Skips one that reads no reply at all; with `sender` it passes.
    """
    connection, program = target.wait_message(), target.program
    target.loop.wait_until(lambda: connection.reply_sent or connection.closed, CONNECT_TIMEOUT)
    emptied = target.loop.wait_until(lambda: connection.read_by_client, OUTPUT_TIMEOUT)
    target.wait_until(lambda: target.prompted, QUIET_TIME)
    read = connection.reply_sent and emptied and connection.end != "RST"
    if not sender and connection.left_unread:
        raise Skipped(READS_NO_REPLY)
    if not sender and not read:
        first = " first-piece" if connection.closed and target.first_piece else ""
        what = "closed the connection before it had" if connection.closed else "has not"
        text = f"the client {what} read the whole reply of {len(target.reply):,} bytes"
        raise Failed(f"{text}; {target.describe()}", pattern=f"cut{first} {target.words}")
    if program.ended and program.exit_code:
        raise Failed(f"the client had no error to report, but {target.describe_exit()}; {target.describe()}")


def check_exits(
    target: ClientTarget, timeout: float = CLIENT_TIMEOUT, otherwise: str = "the client did not exit"
) -> None:
    """Check that the client exits once its session has ended."""
    if not target.end_session(timeout):
        raise Failed(f"{otherwise}: {target.describe()}", pattern=target.words)


def check_error_reported(target: ClientTarget, give_up_time: float | None = None, *, lossy: bool = False) -> str:
    """Check that the client exits with an error message and a code other than 0.

    `give_up_time` limits the wait for a server that is silent; otherwise the error is there to be noticed. Where data
    may be lost (`lossy`), a client that waited and printed a message only gets a warning for exit code 0. One that
    prints nothing is judged by its exit code.
    """
    program, silent = target.program, not target.subject.prints
    target.wait_until(lambda: target.prompted, give_up_time or DECISION_TIME)
    if not program.ended:
        target.loop.wait_until(lambda: program.ended, QUIET_TIME)
    if give_up_time:
        check_exits(target, EXIT_TIMEOUT, f"the client had not given up after {give_up_time:g} s")
    else:
        check_exits(target)
    code = program.exit_code or 0
    reported = bool(target.error_output) or mentions_error(target.messages)
    if silent and code == 0 and any(connection.left_unread for connection in target.connections):
        raise Skipped(READS_NO_REPLY)
    if code == 0 or target.ended_by == END_OF_INPUT:  # the exit code after Ctrl-D means nothing
        if (target.ended_by and reported) or (lossy and target.messages and program.duration > 1):
            raise Warned(f"the client reports the error but continues or exits with code 0: {target.describe()}")
        what = "reported the error, but not by its exit code" if reported else "did not report the error"
        pattern = "reported" if reported else "unnoticed"
        raise Failed(f"the client {what}: {target.describe()}", pattern=f"{pattern} {target.words}")
    if code < 0 and -code != signal.SIGPIPE:
        raise Failed(f"the client {target.describe_exit()}: {target.describe()}", pattern=f"crash {target.words}")
    if is_traceback(target.error_output):
        raise Warned(f"the client printed a traceback instead of an error message: {target.describe()}")
    if (code < 0 or not target.messages) and not silent:
        raise Warned(f"the client detected the error but printed no message: {target.describe()}")
    return f"exit code {code} after {program.duration:.1f} s: {quote_end(target.messages.encode(), 120)}"


def check_no_traceback(target: ClientTarget) -> None:
    """Check that the client's error output is no traceback."""
    if is_traceback(target.error_output):
        raise Failed(f"the client printed a traceback: {target.describe()}", pattern=f"traceback {target.words}")


def check_completed(target: ClientTarget, data: bytes) -> None:
    """Check that the client exits by itself and has printed a long reply; fail after a stall."""
    program, silent = target.program, not target.subject.prints
    while not program.ended:
        target.loop.run_for(0.05)
        idle = target.idle_time
        if idle > 1 and ((len(program.out) >= len(data) and target.shows(data)) or (silent and target.all_read)):
            return  # it waits for EOF without having sent its own: C17 covers that
        if idle > STALL_TIMEOUT:
            received = sum(len(connection.received) for connection in target.connections)
            sent = sum(connection.sent for connection in target.connections)
            unread = any(connection.unread for connection in target.connections)
            raise Failed(
                f"stalled for {STALL_TIMEOUT:g} s: of {len(data):,} bytes the server received {received:,} and "
                f"sent back {sent:,}, and the client printed {len(program.out):,}"
                + (", with bytes of the reply unread" if unread else ""),
                pattern="stuck nothing-read" if unread and not program.out else "stuck",
            )
    if silent:
        if not target.all_read:
            raise Failed(f"the client ended before it had read the whole reply: {target.describe()}", pattern="cut")
    elif not target.shows(data):
        raise _incomplete_output(target, data)
    if program.exit_code:
        error = quote_end(target.error_output.encode())
        what = "read" if silent else "printed"
        raise Failed(f"the client {what} the whole reply, but {target.describe_exit()}: {error}")


def _incomplete_output(target: ClientTarget, data: bytes) -> Failed:
    output = bytes(target.program.out)
    gave_up = " gave-up" if target.program.exit_code and not any(each.reply_sent for each in target.connections) else ""
    if not data.startswith(output[:16]) or not output:
        return _not_shown(target, gave_up.strip())
    # The payload's short lines locate a piece; `bulk_payload` had replaced their ends.
    text, pattern, offset = difference(data.replace(b".", b"\n"), output.replace(b".", b"\n"))
    if offset == len(output):
        text, pattern = f"the output shows only {offset:,} of {len(data):,} bytes", pattern_of(offset)
    errors = f"; standard error: {quote_end(target.error_output.encode())}" if target.error_output else ""
    evidence = Evidence.at(offset, data, output)
    pattern = f"{pattern}{gave_up} {target.words}"
    return Failed(f"{text}{errors}, and {target.describe_exit()}", pattern=pattern, evidence=evidence)
