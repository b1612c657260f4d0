"""The checker is checked: every deliberately wrong server fails exactly the cases that its mistake is about.

Each is asked every MUST and SHOULD of level 4; a case that needs a failed one is BLOCKED, and only such a one. The
right servers pass everything. That takes half an hour (`make check-all`); `make test` asks what fails at once.
"""

import pytest

from halloo._check.catalogue import cases
from halloo._check.runner import RunOptions, ask
from halloo._check.spec import ServerSpec
from tests._check.accusing import Wrong, asked, failed_by, fails_exactly, mutants, told
from tests._check.programs import LISTEN, WAIT, python

SERVERS = "tests._check.mutants.servers"
RIGHT = ("reference", "threaded")
CASES = [case for case in cases() if case.id[0] == "T" and "tcp" in case.schemes]
ASKED = [case for case in CASES if case.severity != "INFO"]
# What is failed within moments; others are failed by what does not come, which takes seconds.
QUICK = {"T01", "T04", "T05", "T09", "T12", "T18", "T19", "T20", "T22", "T28", "T35", "T44", "T48"}

ACCEPT = "a failing accept() ends the server, or spins"
BUSY = "the program asks again and again instead of waiting"
CLOSED_EARLY = "the connection is closed before everything was sent"
CLOSED_UNREAD = "the connection is closed with bytes unread"
ERROR_ENDS = "one client's error ends the server"
IGNORED_SEND = "the result of send() is ignored"
LINES = "lines are waited for, stripped or added"
NEVER_CLOSED = "the connection is not closed when the client has finished"
PLACES = "only so many clients have a place"
WAITS = "one client's wait stops the loop that serves everybody"

MUTANTS = {
    "asks_for_the_name": Wrong("T20", ACCEPT),
    "closes_with_bytes_unread": Wrong("T34", CLOSED_UNREAD),
    "decodes": Wrong("T04", "bytes are decoded before they are echoed"),
    # In the others it is chance whether there is room: they read while they write.
    "drops_what_does_not_fit": Wrong("T11 T16 T17 T33", IGNORED_SEND, perhaps="T08 T41"),
    "ends_after_the_end": Wrong("T48", ERROR_ENDS),
    "ends_at_an_error": Wrong("T18 T19 T20 T22", ERROR_ENDS),
    "ends_out_of_descriptors": Wrong("T29", ACCEPT),
    "ends_with_a_traceback": Wrong("T44", "Ctrl-C ends in a traceback"),
    # In the others the end comes with the last bytes, or while the server is still sending.
    "forgets_at_the_end": Wrong("T09 T11 T12 T17 T33 T49 T50", CLOSED_EARLY, perhaps="T08"),
    "has_a_short_queue": Wrong("T24", "the queue of waiting connections is short"),
    "has_few_threads": Wrong("T39 T40", PLACES),
    "ignores_send": Wrong("T33", IGNORED_SEND),
    "keeps_the_port": Wrong("T28", "the port cannot be taken again after a restart"),
    "leaks_after_an_error": Wrong("T22", "a connection is not closed after an error"),
    "leaks_descriptors": Wrong("T21", NEVER_CLOSED),
    "leaves_zombies": Wrong("T21", "a child process that has ended is not taken note of"),
    # What a client that has gone had sent may reach the next one.
    "mixes_clients_up": Wrong("T13", "what belongs to one client is kept for all", perhaps="T18 T19 T20 T22"),
    "never_closes": Wrong("T09 T10", NEVER_CLOSED),
    "polls_without_waiting": Wrong("T36 T37", BUSY),
    "prints_each_message": Wrong("T46 T47", "each message is printed"),
    "reads_little": Wrong("T26", "small writes wait for the peer's acknowledgement"),
    "serves_a_hundred": Wrong("T23 T24", PLACES),
    "serves_one": Wrong("T35", "the server ends after its first client"),
    "serves_one_at_a_time": Wrong("T14", "one client at a time"),
    "shares_the_port": Wrong("T43", "two servers share the port"),
    "sleeps_in_its_loop": Wrong("T41", WAITS),
    "spins_at_the_end": Wrong("T37", BUSY),
    "spins_out_of_descriptors": Wrong("", warns="T29"),
    "stands_still_while_it_sends": Wrong("T15", WAITS),
    "stops_at_once": Wrong("T34", CLOSED_UNREAD),
    "strips_lines": Wrong("T03 T04", LINES),
    "takes_one_recv_for_a_message": Wrong("T01 T02 T03 T04 T05 T06 T07 T08", "one recv() is taken for one message"),
    "waits_for_lines": Wrong("T03", LINES),
    "wears_out": Wrong("T51"),
    "writes_without_looking": Wrong("T16", "writing without looking whether anybody reads"),
}


def test_every_mutant_is_asked() -> None:
    assert mutants("servers") == set(MUTANTS)


def test_every_case_that_matters_is_failed_by_a_mutant() -> None:
    assert failed_by(MUTANTS.values()) == {case.id for case in ASKED}


BY_CHANCE = {"takes_one_recv_for_a_message": {"T01", "T04"}}  # when it closes soon after it has answered
QUICKLY = {name: sorted(QUICK.intersection(wrong.fails.split())) for name, wrong in MUTANTS.items()}


@pytest.mark.parametrize("name", [name for name, fails in QUICKLY.items() if fails])
def test_a_mutant_fails_at_once(name: str) -> None:
    """It echoes a line, unless that is its mistake, and fails what can be failed at once."""
    results = asked(f"{SERVERS}.{name}", [case for case in ASKED if case.id in {"T01", *QUICKLY[name]}])
    chance = BY_CHANCE.get(name, set())
    assert set(told(results, "FAIL")) - chance == set(QUICKLY[name]) - chance


def test_a_server_that_is_gone_is_not_taken_for_our_own_system() -> None:
    """T52 matters to nobody's marks, and is failed by a server that stops listening at its second client."""
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
    result = ask(case, ServerSpec(command=python(serves_two)), RunOptions())
    assert (result.verdict, result.pattern) == ("FAIL", "refused")


@pytest.mark.conformance
def test_how_a_server_ends_is_told_whatever_it_is() -> None:
    """Of T30 nobody's marks depend: of children that go on listening it is told, and that is all."""
    answers_in_a_child = f"""{LISTEN}
if os.fork():
    signal.pause()
while True:
    conn, _ = s.accept()
    threading.Thread(target=lambda conn=conn: [conn.sendall(data) for data in iter(lambda: conn.recv(99), b'')]).start()
"""
    (case,) = (case for case in CASES if case.id == "T30")
    result = ask(case, ServerSpec(command=python("import signal, threading\n" + answers_in_a_child)), RunOptions())
    assert result.verdict == "INFO"
    assert "others of its processes still listen" in result.text


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_exactly_what_its_mistake_is_about(name: str) -> None:
    fails_exactly(MUTANTS[name], asked(f"{SERVERS}.{name}", ASKED))


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_server_passes_everything(name: str) -> None:
    assert told(asked(f"tests._check.{name}", CASES), "FAIL", "ERROR", "WARN", "BLOCKED") == {}
