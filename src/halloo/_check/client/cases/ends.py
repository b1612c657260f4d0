"""Cases about endings: early EOF, reset or no reply; no input; interrupt; closed output.

Uses a `ClientTarget` only. In all of them a client has to exit and to report the error.
"""

import signal

from halloo._check.case import Failed, Warned
from halloo._check.client import behaviours
from halloo._check.client.case import case
from halloo._check.client.cases.answers import C01, MESSAGE_ONLY, MESSAGE_SHAPES, MIB, PIPE_ONLY, TCP, bulk_payload
from halloo._check.client.output_match import is_traceback
from halloo._check.client.target import CLIENT_TIMEOUT, CONNECT_TIMEOUT, END_OF_INPUT, EXIT_TIMEOUT, ClientTarget

ERROR_REPORTED = "an error message and an exit code other than 0, no hang; a traceback is a warning"
CONNECT_LIMIT = 20.0  # seconds within which a client must stop trying to connect


@case(passes="an error message, exit code not 0, no hang", severity="MUST", source="toxiproxy limit_data", schemes=TCP)
def c06_half_then_end(target: ClientTarget) -> str:
    """Send half of the reply, then EOF."""
    target.serve(behaviours.half_then_eof)
    target.wait_message()
    return target.check_error_reported()


@case(passes="an error message, exit code not 0, no hang", severity="MUST", source="toxiproxy reset_peer", schemes=TCP)
def c07_half_then_reset(target: ClientTarget) -> str:
    """Send half of the reply, then a reset."""
    target.serve(behaviours.half_then_reset)
    target.wait_message()
    return target.check_error_reported()


@case(
    passes="gives up within 7 s, with an error",
    severity="SHOULD",
    source="toxiproxy timeout",
    waits=True,
    kill=30,
    schemes=TCP,
)
def c08_never(target: ClientTarget) -> str:
    """Never reply."""
    target.serve(behaviours.silent)
    target.wait_message()
    return target.check_error_reported(CLIENT_TIMEOUT, exit_timeout=1)


@case(passes=ERROR_REPORTED, severity="MUST", source="toxiproxy down", schemes=TCP)
def c11_end_at_once(target: ClientTarget) -> str:
    """Send EOF as soon as the connection is accepted."""
    target.serve(behaviours.eof_at_once)
    target.wait_connection()
    return target.check_error_reported()


@case(passes=ERROR_REPORTED, severity="MUST", source="toxiproxy down", schemes=TCP)
def c12_reset_at_once(target: ClientTarget) -> str:
    """Reset the connection as soon as it is accepted."""
    target.serve(behaviours.reset_at_once)
    target.wait_connection()
    return target.check_error_reported()


@case(passes="an error message, exit code not 0", severity="MUST", source="ECONNREFUSED", schemes=TCP)
def c13_nobody(target: ClientTarget) -> str:
    """Do not listen at all."""
    target.refuse_connections()
    return target.check_error_reported()


@case(
    passes="gives up connecting, with an error",
    severity="SHOULD",
    source="toxiproxy down",
    waits=True,
    kill=40,
    schemes=TCP,
)
def c20_queue_full(target: ClientTarget) -> str:
    """Listen with a full accept queue, so that the connection attempt gets no reply."""
    target.fill_accept_queue()
    return target.check_error_reported(CONNECT_LIMIT, exit_timeout=1)


@case(passes="exits within 1 s, no traceback", severity="SHOULD", source="Ctrl-C at a terminal", schemes=TCP)
def c21_interrupt(target: ClientTarget) -> str:
    """Send no reply and interrupt the client (SIGINT to all its processes)."""
    target.serve(behaviours.silent)
    target.wait_message()
    target.loop.run_for(0.2)
    program, signalled_at = target.program, target.loop.clock()
    if program.ended:
        raise Warned(f"the client did not wait for the reply: {target.describe()}")
    program.send_signal(signal.SIGINT)
    if not target.loop.wait_until(lambda: program.ended, 3):
        raise Failed(f"the client was still running 3 s after SIGINT: {target.describe()}", pattern="hang")
    if is_traceback(target.error_output):
        raise Failed(f"the client printed a traceback: {target.describe()}", pattern="traceback")
    if (elapsed := program.started_at + program.duration - signalled_at) > 1:
        raise Failed(f"the client exited {elapsed:.1f} s after SIGINT", pattern="hang")
    return f"{target.describe_exit()} after {elapsed:.2f} s"


@case(passes="no hang", severity="MUST", source="recv() after nothing was sent", schemes=TCP)
def c22_empty(target: ClientTarget) -> None:
    """Give it nothing to send: an empty line, an empty pipe, an empty argument."""
    target.require_shape(*MESSAGE_SHAPES, why=MESSAGE_ONLY)
    if target.shape == "piped":
        target.serve_bytes(behaviours.echo, b"")
    else:
        target.serve(behaviours.echo, text="")
    # Some clients exit without connecting; some have no prompt.
    target.loop.wait_until(lambda: bool(target.connections) or target.program.ended, CONNECT_TIMEOUT)
    if not target.wait_until(lambda: target.prompted, 4) and not target.end_session(EXIT_TIMEOUT):
        raise Failed(f"the client did not exit: {target.describe()}", pattern="hang")


@case(passes="no error", severity="SHOULD", source="servers that close with RST", needs=C01, schemes=TCP)
def c26_reset_after_all(target: ClientTarget) -> None:
    """Reset the connection once the client has read the whole reply."""
    target.serve(behaviours.reply_then_reset)
    target.check_reply_shown()
    if not target.end_session():
        raise Failed(f"the client did not exit: {target.describe()}", pattern="hang")
    if target.program.exit_code and target.ended_by != END_OF_INPUT:
        raise Failed(f"it had the whole reply, but {target.describe_exit()}: {target.describe()}", pattern="reset")


@case(passes="an error: not all data was sent", severity="SHOULD", source="EPIPE", kill=30, waits=True, schemes=TCP)
def c27_end_while_sending(target: ClientTarget) -> str:
    """Echo 256 KiB of 16 MiB, send EOF, and reset a second later."""
    target.require_shape("piped", why=PIPE_ONLY)
    target.serve_bytes(behaviours.echo_part(MIB // 4), bulk_payload(16 * MIB))
    target.wait_message()
    return target.check_error_reported()


@case(passes="no traceback", severity="INFO", source="| head", schemes=TCP)
def c28_output_closed(target: ClientTarget) -> str:
    """Close the reading end of its standard output."""
    target.serve(behaviours.echo, stdout_closed=True)
    target.wait_connection()
    target.wait_until(lambda: target.prompted, 1.5)
    if not target.end_session():
        raise Failed(f"the client did not exit: {target.describe()}", pattern="hang")
    if is_traceback(target.error_output):
        raise Failed(f"the client printed a traceback: {target.describe()}", pattern="traceback")
    return target.describe_exit()
