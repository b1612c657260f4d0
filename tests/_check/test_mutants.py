"""Tests of the checker: every mutant, a server with one mistake, fails exactly the cases for that mistake.

Each mutant is checked with every MUST and SHOULD of level 4; cases that need a failed one are BLOCKED, and no others.
The correct servers pass everything. That takes half an hour (`make check-all`); `make test` runs only the cases that
fail at once.
"""

import pytest

from halloo._check.catalogue import cases
from halloo._check.runner import RunOptions, run_case
from halloo._check.spec import ServerSpec
from tests._check.mutant_results import Expected, assert_fails_exactly, check_module, failed_by, mutants, texts
from tests._check.programs import LISTEN, WAIT, python

SERVERS = "tests._check.mutants.servers"
CORRECT = ("reference", "threaded")
CASES = [case for case in cases() if case.id[0] == "T" and "tcp" in case.schemes]
SELECTED = [case for case in CASES if case.severity != "INFO"]
# Cases that fail at once; others fail by a timeout, which takes seconds.
QUICK = {"T01", "T04", "T05", "T09", "T12", "T18", "T19", "T20", "T22", "T28", "T35", "T44", "T48"}

ACCEPT = "a failing accept() ends the server, or spins"
BUSY = "the program polls in a busy loop"
CLOSED_EARLY = "the connection is closed before everything was sent"
CLOSED_UNREAD = "the connection is closed with bytes unread"
ERROR_ENDS = "one client's error ends the server"
IGNORED_SEND = "the result of send() is ignored"
LINES = "lines are expected, stripped or added"
NEVER_CLOSED = "the connection is not closed when the client has finished"
SLOTS = "a pool limits the number of clients"
WAITS = "waiting for one client blocks the event loop"

MUTANTS = {
    "exits_at_failed_getpeername": Expected("T20", ACCEPT),
    "closes_with_unread_bytes": Expected("T34", CLOSED_UNREAD),
    "decodes_utf8": Expected("T04", "bytes are decoded before they are echoed"),
    # In T08 and T41 clients read while they write, so that there may be room for everything.
    "drops_unsent_bytes": Expected("T11 T16 T17 T33", IGNORED_SEND, perhaps="T08 T41"),
    "exits_at_failed_shutdown": Expected("T48", ERROR_ENDS),
    "exits_at_reset": Expected("T18 T19 T20 T22", ERROR_ENDS),
    "exits_out_of_descriptors": Expected("T29", ACCEPT),
    "prints_traceback_at_interrupt": Expected("T44", "Ctrl-C ends in a traceback"),
    # In the other cases the end of the stream arrives with the last bytes or while the server is sending.
    "drops_pending_bytes_at_eof": Expected("T09 T11 T12 T17 T33 T49 T50", CLOSED_EARLY, perhaps="T08"),
    "has_a_short_backlog": Expected("T24", "the accept queue is short"),
    "has_a_small_thread_pool": Expected("T39 T40", SLOTS),
    "ignores_partial_sends": Expected("T33", IGNORED_SEND),
    "omits_reuseaddr": Expected("T28", "the port cannot be bound again after a restart"),
    "leaks_descriptors_after_errors": Expected("T22", "a connection is not closed after an error"),
    "leaks_descriptors": Expected("T21", NEVER_CLOSED),
    "leaves_zombies": Expected("T21", "an exited child process is not reaped"),
    # Bytes of a closed client may be sent to the next one.
    "mixes_clients_up": Expected("T13", "state of one client is shared by all", perhaps="T18 T19 T20 T22"),
    "never_closes": Expected("T09 T10", NEVER_CLOSED),
    "busy_polls": Expected("T36 T37", BUSY),
    "prints_each_message": Expected("T46 T47", "each message is printed"),
    "reads_little_with_nagle": Expected("T26", "small writes wait for the peer's acknowledgement"),
    "serves_100_clients": Expected("T23 T24", SLOTS),
    "exits_after_one_client": Expected("T35", "the server exits after its first client"),
    "serves_one_at_a_time": Expected("T14", "one client at a time"),
    "sets_reuseport": Expected("T43", "two servers share the port"),
    "sleeps_in_its_loop": Expected("T41", WAITS),
    "spins_at_half_close": Expected("T37", BUSY),
    "spins_out_of_descriptors": Expected("", warns="T29"),
    "blocks_while_sending": Expected("T15", WAITS),
    "stops_without_draining": Expected("T34", CLOSED_UNREAD),
    "strips_lines": Expected("T03 T04", LINES),
    "receives_once": Expected("T01 T02 T03 T04 T05 T06 T07 T08", "one recv() is taken for one message"),
    "waits_for_lines": Expected("T03", LINES),
    "never_reuses_slots": Expected("T51"),
    "queues_without_limit": Expected("T16", "output is buffered without a limit"),
}


def test_every_mutant_is_checked() -> None:
    assert mutants("servers") == set(MUTANTS)


def test_every_must_and_should_is_failed_by_a_mutant() -> None:
    assert failed_by(MUTANTS.values()) == {case.id for case in SELECTED}


BY_TIMING = {"receives_once": {"T01", "T04"}}  # if it closes soon after its reply
QUICK_CASES = {name: sorted(QUICK.intersection(expected.fails.split())) for name, expected in MUTANTS.items()}


@pytest.mark.parametrize("name", [name for name, fails in QUICK_CASES.items() if fails])
def test_a_mutant_fails_its_quick_cases(name: str) -> None:
    """It echoes a line, unless that is its mistake, and fails the quick cases."""
    results = check_module(f"{SERVERS}.{name}", [case for case in SELECTED if case.id in {"T01", *QUICK_CASES[name]}])
    timing = BY_TIMING.get(name, set())
    assert set(texts(results, "FAIL")) - timing == set(QUICK_CASES[name]) - timing


def test_a_closed_listener_fails_t52() -> None:
    """The failure is the server's, not a port that the client's system refuses."""
    serves_two = f"""{LISTEN}
for last in False, True:
    conn, _ = s.accept()
    if last:
        s.close()
    try:
        while data := conn.recv(99):
            conn.sendall(data)
    except ConnectionResetError:
        pass
    conn.close()
{WAIT}"""
    (case,) = (case for case in CASES if case.id == "T52")
    result = run_case(case, ServerSpec(command=python(serves_two)), RunOptions())
    assert (result.verdict, result.pattern) == ("FAIL", "refused")


@pytest.mark.conformance
def test_children_that_still_listen_are_reported_by_t30() -> None:
    """T30 has severity INFO: it is not a failure."""
    serves_in_a_child = f"""{LISTEN}
if os.fork():
    signal.pause()
while True:
    conn, _ = s.accept()
    threading.Thread(target=lambda conn=conn: [conn.sendall(data) for data in iter(lambda: conn.recv(99), b'')]).start()
"""
    (case,) = (case for case in CASES if case.id == "T30")
    result = run_case(case, ServerSpec(command=python("import signal, threading\n" + serves_in_a_child)), RunOptions())
    assert result.verdict == "INFO"
    assert "others of its processes still listen" in result.text


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_exactly_the_cases_for_its_mistake(name: str) -> None:
    assert_fails_exactly(MUTANTS[name], check_module(f"{SERVERS}.{name}", SELECTED))


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_server_passes_everything(name: str) -> None:
    assert texts(check_module(f"tests._check.{name}", CASES), "FAIL", "ERROR", "WARN", "BLOCKED") == {}
