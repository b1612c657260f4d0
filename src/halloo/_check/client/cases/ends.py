"""Cases about endings: early EOF, reset or no reply; no input; interrupt; closed output.

Uses a `ClientTarget` only. In all of them a client has to exit and to report the error.
"""

import signal

from halloo._check.case import Failed, Skipped
from halloo._check.client.cases.answers import C01, MESSAGE_ONLY, MESSAGE_SHAPES, PIPE_ONLY, bulk_payload
from halloo._check.client.checks import check_error_reported, check_exits, check_no_traceback, check_reply_shown
from halloo._check.client.loop import Script
from halloo._check.client.server import Behaviour, ClientConnection, echo
from halloo._check.client.target import CONNECT_TIMEOUT, EXIT_TIMEOUT, GIVE_UP_TIMEOUT, ClientTarget, case
from halloo._check.payload import MIB

HALF_A_REPLY = "an error message, exit code not 0, no hang"
AT_ONCE = case(
    "MUST",
    "an error message and an exit code other than 0, no hang; a traceback is a warning",
    "a server may be down",
    C01,
)


def _half_then_eof(connection: ClientConnection) -> Script:
    message = yield from connection.receive_message()
    connection.send(message[: len(message) // 2])
    connection.shutdown_write()


@case("MUST", HALF_A_REPLY, "a connection may end early", C01)
def c06_half_then_end(target: ClientTarget) -> str:
    """Send half of the reply, then EOF."""
    target.serve(_half_then_eof)
    target.wait_message()
    return check_error_reported(target)


def _half_then_reset(connection: ClientConnection) -> Script:
    message = yield from connection.receive_message()
    connection.send(message[: len(message) // 2])
    yield lambda: connection.acknowledged
    yield 0.1
    connection.reset()


@case("MUST", HALF_A_REPLY, "a connection may be reset: RFC 9293 3.10.7", C01)
def c07_half_then_reset(target: ClientTarget) -> str:
    """Send half of the reply, then a reset."""
    target.serve(_half_then_reset)
    target.wait_message()
    return check_error_reported(target)


@case("SHOULD", "gives up within 12 s, with an error", "a server may stop answering", C01, kill=40)
def c08_never(target: ClientTarget) -> str:
    """Never reply."""
    target.serve(None)
    target.wait_message()
    return check_error_reported(target, GIVE_UP_TIMEOUT)


def _eof_at_once(connection: ClientConnection) -> Script:
    connection.shutdown_write()
    yield 0


@AT_ONCE
def c11_end_at_once(target: ClientTarget) -> str:
    """Send EOF as soon as the connection is accepted."""
    target.serve(_eof_at_once)
    target.wait_connection()
    return check_error_reported(target)


def _reset_at_once(connection: ClientConnection) -> Script:
    yield 0.05
    connection.reset()


@AT_ONCE
def c12_reset_at_once(target: ClientTarget) -> str:
    """Reset the connection as soon as it is accepted."""
    target.serve(_reset_at_once)
    target.wait_connection()
    return check_error_reported(target)


@case("MUST", "an error message, exit code not 0", "ECONNREFUSED")
def c13_nobody(target: ClientTarget) -> str:
    """Do not listen at all."""
    target.refuse_connections()
    return check_error_reported(target)


@case("SHOULD", "gives up connecting, with an error", "a server may be down", kill=40)
def c20_queue_full(target: ClientTarget) -> str:
    """Listen with a full accept queue, so that the connection attempt gets no reply."""
    target.refuse_connections(full_queue=True)
    return check_error_reported(target, GIVE_UP_TIMEOUT)


@case("SHOULD", "exits within 2 s, no traceback", "Ctrl-C at a terminal")
def c21_interrupt(target: ClientTarget) -> str:
    """Send no reply and interrupt the client (SIGINT to all its processes)."""
    target.serve(None)
    target.wait_message()
    target.loop.run_for(0.2)
    program, signalled_at = target.program, target.loop.clock()
    if program.ended:
        raise Skipped(f"the client had ended before it could be interrupted: {target.describe()}")
    program.tree.signal(signal.SIGINT)
    if not target.loop.wait_until(lambda: program.ended, 3):
        raise Failed(f"the client was still running 3 s after SIGINT: {target.describe()}", pattern=target.words)
    check_no_traceback(target)
    if (elapsed := program.started_at + program.duration - signalled_at) > 2:
        raise Failed(f"the client exited {elapsed:.1f} s after SIGINT", pattern="slow")
    return f"{target.describe_exit()} after {elapsed:.2f} s"


@case("MUST", "no hang", "recv() after nothing was sent")
def c22_empty(target: ClientTarget) -> None:
    """Give it nothing to send: an empty line, an empty pipe, an empty argument."""
    target.require_shape(*MESSAGE_SHAPES, why=MESSAGE_ONLY)
    if target.shape == "piped":
        target.serve_bytes(echo, b"")
    else:
        target.serve(echo, text="")
    # Some clients exit without connecting; some have no prompt.
    target.wait_until(lambda: bool(target.connections), CONNECT_TIMEOUT)
    if target.wait_until(lambda: target.prompted, 4) or target.program.ended:
        return
    if target.shape != "typed":
        check_exits(target, EXIT_TIMEOUT)
    elif target.answer_nothing():
        word = "waits-for-word" if target.ends_at_word() else "waits-for-reply"
        ending = f", and ends at {target.ended_by}" if word == "waits-for-word" else ""
        text = f"after an empty line the client waits for a reply to nothing{ending}: {target.describe()}"
        raise Failed(text, pattern=f"{word} {target.words}")
    else:
        check_exits(target, EXIT_TIMEOUT)


@case("SHOULD", "no error", "servers that close with RST", C01)
def c26_reset_after_all(target: ClientTarget) -> None:
    """Reset the connection once the client has read the whole reply."""
    target.require_shape("piped", "argument", "own", why="at a terminal the client uses the connection again")

    def reply_then_reset(connection: ClientConnection) -> Script:
        message = yield from connection.receive_message()
        yield 0.05  # the line end may still be in transit
        connection.send(message + connection.take_rest())
        yield lambda: connection.read_by_client
        yield target.loop.condition_or_timeout(lambda: bool(connection.end), 0.5)  # it may still be sending its end
        connection.reset()

    target.serve(reply_then_reset)
    check_reply_shown(target)
    check_exits(target)
    if target.program.exit_code:
        text = f"it had the whole reply, but {target.describe_exit()}: {target.describe()}"
        raise Failed(text, pattern=f"reset-after-reply {target.words}")


def _echo_part(size: int) -> Behaviour:
    def behaviour(connection: ClientConnection) -> Script:
        connection.echo()
        yield lambda: len(connection.received) >= size or bool(connection.end)
        connection.set_reading(enabled=False)
        connection.shutdown_write()
        yield 1.0
        connection.reset()

    return behaviour


@case("SHOULD", "an error: not all data was sent", "EPIPE", C01, kill=30)
def c27_end_while_sending(target: ClientTarget) -> str:
    """Echo 256 KiB of 16 MiB, send EOF, and reset a second later."""
    target.require_shape("piped", why=PIPE_ONLY)
    target.serve_bytes(_echo_part(MIB // 4), bulk_payload(16 * MIB))
    target.wait_message()
    return check_error_reported(target)


@case("INFO", "no traceback", "| head")
def c28_output_closed(target: ClientTarget) -> str:
    """Close the reading end of its standard output."""
    target.require_output()
    target.serve(echo, stdout_closed=True)
    target.wait_connection()
    target.wait_until(lambda: target.prompted, 1.5)
    check_exits(target)
    check_no_traceback(target)
    return target.describe_exit()
