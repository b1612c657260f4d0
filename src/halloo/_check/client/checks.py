"""What client cases check: the whole reply is shown, an error is reported, a long exchange completes.

Uses a `ClientTarget` only.
"""

import signal

from halloo._check.case import Evidence, Failed, Warned
from halloo._check.client.output_match import is_traceback, pattern_of, quote_end, shown_length
from halloo._check.client.target import (
    CLIENT_TIMEOUT,
    CONNECT_TIMEOUT,
    END_OF_INPUT,
    OUTPUT_TIMEOUT,
    QUIET_TIME,
    ClientTarget,
)
from halloo._check.payload import difference

STALL_TIMEOUT = 8.0  # seconds without any bytes after which an exchange has stalled
MAX_COMPARED = 1 << 16  # bytes of a reply to search the output for


def check_reply_shown(target: ClientTarget) -> None:
    """Check that the output contains the whole reply; an early exit counts as not waiting for it."""
    target.wait_message()
    target.wait_until(lambda: any(connection.reply_sent for connection in target.connections), CONNECT_TIMEOUT)
    if not target.wait_until(lambda: target.shows(target.expected_output), OUTPUT_TIMEOUT):
        target.end_session(OUTPUT_TIMEOUT)
        if not target.shows(target.expected_output):
            raise _not_shown(target, target.expected_output)


def _not_shown(target: ClientTarget, reply: bytes) -> Failed:
    count = shown_length(target.output_after_reply(reply), reply[:MAX_COMPARED])
    pattern = "traceback" if is_traceback(target.error_output) else pattern_of(count)
    shown = f"only the first {count:,} bytes" if count else "none of it"
    text = f"the reply is {quote_end(reply, 60)} ({len(reply):,} bytes); the output shows {shown}"
    return Failed(f"{text}; {target.describe()}", pattern=pattern)


def check_exits(target: ClientTarget, timeout: float = CLIENT_TIMEOUT) -> None:
    """Check that the client exits once its session has ended."""
    if not target.end_session(timeout):
        raise Failed(f"the client did not exit: {target.describe()}", pattern="hang")


def check_error_reported(
    target: ClientTarget, decision_time: float = 1.5, exit_timeout: float = CLIENT_TIMEOUT, *, lossy: bool = False
) -> str:
    """Check that the client exits with an error message and a code other than 0.

    `decision_time` is the time to detect the error. Where data may be lost (`lossy`), a client that waited and
    printed a message only gets a warning for exit code 0.
    """
    program = target.program
    target.wait_until(lambda: target.prompted, decision_time)
    if not program.ended:
        target.loop.wait_until(lambda: program.ended, QUIET_TIME)
    check_exits(target, exit_timeout)
    code = program.exit_code or 0
    if code == 0 or target.ended_by == END_OF_INPUT:  # the exit code after Ctrl-D means nothing
        if (target.ended_by and target.error_output) or (lossy and target.messages and program.duration > 1):
            raise Warned(f"the client reports the error but continues or exits with code 0: {target.describe()}")
        raise Failed(f"the client did not report the error: {target.describe()}", pattern="unnoticed")
    if code < 0 and -code != signal.SIGPIPE:
        raise Failed(f"the client {target.describe_exit()}: {target.describe()}", pattern="crash")
    if is_traceback(target.error_output):
        raise Warned(f"the client printed a traceback instead of an error message: {target.describe()}")
    if code < 0 or not target.messages:
        raise Warned(f"the client detected the error but printed no message: {target.describe()}")
    return f"exit code {code} after {program.duration:.1f} s: {quote_end(target.messages.encode(), 120)}"


def check_no_traceback(target: ClientTarget) -> None:
    """Check that the client's error output is no traceback."""
    if is_traceback(target.error_output):
        raise Failed(f"the client printed a traceback: {target.describe()}", pattern="traceback")


def check_completed(target: ClientTarget, data: bytes) -> None:
    """Check that the client exits by itself and has printed a long reply; fail after a stall."""
    program = target.program
    while not program.ended:
        target.loop.run_for(0.05)
        idle = target.idle_time
        if idle > 1 and len(program.out) >= len(data) and target.shows(data):
            return  # it waits for EOF without having sent its own: C17 covers that
        if idle > STALL_TIMEOUT:
            received = sum(len(connection.received) for connection in target.connections)
            sent = sum(connection.sent for connection in target.connections)
            raise Failed(
                f"stalled for {STALL_TIMEOUT:g} s: of {len(data):,} bytes the server received {received:,} and "
                f"sent back {sent:,}, and the client printed {len(program.out):,}",
                pattern="stuck",
            )
    if not target.shows(data):
        raise _incomplete_output(target, data)
    if program.exit_code:
        error = quote_end(target.error_output.encode())
        raise Failed(f"the client printed the whole reply, but {target.describe_exit()}: {error}")


def _incomplete_output(target: ClientTarget, data: bytes) -> Failed:
    output = bytes(target.program.out)
    if not data.startswith(output[:16]) or not output:
        return _not_shown(target, data)
    # The payload's short lines locate a piece; `bulk_payload` had replaced their ends.
    text, pattern, offset = difference(data.replace(b".", b"\n"), output.replace(b".", b"\n"))
    if offset == len(output):
        text, pattern = f"the output shows only {offset:,} of {len(data):,} bytes", pattern_of(offset)
    errors = f"; standard error: {quote_end(target.error_output.encode())}" if target.error_output else ""
    evidence = Evidence.at(offset, data, output)
    return Failed(f"{text}{errors}, and {target.describe_exit()}", pattern=pattern, evidence=evidence)
