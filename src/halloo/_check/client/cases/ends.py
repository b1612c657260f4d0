"""Cases of an end: of the connection too early, by force, or never; of the input; of who reads what the client prints.

Knows a client's target. Whoever is told nothing, or waits for ever, is not helped by a client.
"""

import signal

from halloo._check.case import Failed, Warned
from halloo._check.client import behaviours
from halloo._check.client.case import case
from halloo._check.client.cases.answers import BULK, GIVEN, MESSAGE, MIB, SHOWS, TCP, bulk
from halloo._check.client.output_match import is_traceback
from halloo._check.client.target import END_OF_INPUT, GIVES_UP, LEAVES, START, ClientTarget

HUNG_UP = "an error and an exit code that is not 0, no hang; a bare traceback is a warning"
CONNECTS = 20.0  # seconds after which a connection that does not come about is given up


@case(passes="says so, exit code not 0, no hang", severity="MUST", source="toxiproxy limit_data", schemes=TCP)
def c06_half_then_end(target: ClientTarget) -> str:
    """Give half the answer, then the end."""
    target.serve(behaviours.half)
    target.asked()
    return target.see_trouble_told()


@case(passes="says so, exit code not 0, no hang", severity="MUST", source="toxiproxy reset_peer", schemes=TCP)
def c07_half_then_reset(target: ClientTarget) -> str:
    """Give half the answer, then a reset."""
    target.serve(behaviours.half_reset)
    target.asked()
    return target.see_trouble_told()


@case(
    passes="gives up within 7 s, with an error",
    severity="SHOULD",
    source="toxiproxy timeout",
    waits=True,
    kill=30,
    schemes=TCP,
)
def c08_never(target: ClientTarget) -> str:
    """Never answer."""
    target.serve(behaviours.silent)
    target.asked()
    return target.see_trouble_told(GIVES_UP, within=1)


@case(passes=HUNG_UP, severity="MUST", source="toxiproxy down", schemes=TCP)
def c11_end_at_once(target: ClientTarget) -> str:
    """End the connection as soon as it is there."""
    target.serve(behaviours.end)
    target.peer()
    return target.see_trouble_told()


@case(passes=HUNG_UP, severity="MUST", source="toxiproxy down", schemes=TCP)
def c12_reset_at_once(target: ClientTarget) -> str:
    """Reset the connection as soon as it is there."""
    target.serve(behaviours.reset)
    target.peer()
    return target.see_trouble_told()


@case(passes="a reason, exit code not 0", severity="MUST", source="ECONNREFUSED", schemes=TCP)
def c13_nobody(target: ClientTarget) -> str:
    """Do not listen at all."""
    target.refuse_connections()
    return target.see_trouble_told()


@case(
    passes="gives up connecting, with an error",
    severity="SHOULD",
    source="toxiproxy down",
    waits=True,
    kill=40,
    schemes=TCP,
)
def c20_queue_full(target: ClientTarget) -> str:
    """Listen with a full queue, so that connecting is not answered."""
    target.be_full()
    return target.see_trouble_told(CONNECTS, within=1)


@case(passes="ends within 1 s, no traceback", severity="SHOULD", source="a person at a terminal", schemes=TCP)
def c21_interrupt(target: ClientTarget) -> str:
    """Answer nothing, and interrupt the client (SIGINT to all its processes)."""
    target.serve(behaviours.silent)
    target.asked()
    target.loop.pause(0.2)
    program, told = target.program, target.loop.clock()
    if program.ended:
        raise Warned(f"it had not waited: {target.story()}")
    program.tell(signal.SIGINT)
    if not target.loop.until(lambda: program.ended, 3):
        raise Failed(f"it had not ended 3 s after SIGINT: {target.story()}", pattern="hang")
    if is_traceback(target.said):
        raise Failed(f"a traceback: {target.story()}", pattern="traceback")
    if (took := program.began + program.seconds - told) > 1:
        raise Failed(f"it ended {took:.1f} s after SIGINT", pattern="hang")
    return f"{target.ending()} after {took:.2f} s"


@case(passes="no hang", severity="MUST", source="recv() after nothing was sent", schemes=TCP)
def c22_empty(target: ClientTarget) -> None:
    """Give it nothing to send: an empty line, an empty pipe, an empty word."""
    target.need(*GIVEN, why=MESSAGE)
    if target.shape == "piped":
        target.serve_bytes(behaviours.echo, b"")
    else:
        target.serve(behaviours.echo, text="")
    target.loop.until(lambda: bool(target.peers) or target.program.ended, START)  # some end, and do not connect
    if not target.until(lambda: target.prompted, 4) and not target.leave(LEAVES):  # some have no prompt
        raise Failed(f"it waits for ever: {target.story()}", pattern="hang")


@case(passes="success", severity="SHOULD", source="a server in a hurry", needs=SHOWS, schemes=TCP)
def c26_reset_after_all(target: ClientTarget) -> None:
    """Reset the connection when the whole answer has been read."""
    target.serve(behaviours.then_reset)
    target.see_shown()
    if not target.leave():
        raise Failed(f"it waits for ever: {target.story()}", pattern="hang")
    if target.program.code and target.left != END_OF_INPUT:
        raise Failed(f"all of the answer had come, but {target.ending()}: {target.story()}", pattern="reset")


@case(passes="reports that not all was sent", severity="SHOULD", source="EPIPE", kill=30, waits=True, schemes=TCP)
def c27_end_while_sending(target: ClientTarget) -> str:
    """Echo 256 KiB of 16 MiB, end, and a second later be gone."""
    target.need("piped", why=BULK)
    target.serve_bytes(behaviours.give_up(MIB // 4), bulk(16 * MIB))
    target.asked()
    return target.see_trouble_told()


@case(passes="no traceback", severity="INFO", source="| head", schemes=TCP)
def c28_output_closed(target: ClientTarget) -> str:
    """Read nothing of what it prints."""
    target.serve(behaviours.echo, deaf=True)
    target.peer()
    target.until(lambda: target.prompted, 1.5)
    if not target.leave():
        raise Failed(f"it waits for ever: {target.story()}", pattern="hang")
    if is_traceback(target.said):
        raise Failed(f"a traceback: {target.story()}", pattern="traceback")
    return target.ending()
