"""Tests of the checker: every mutant, a server with one mistake, fails exactly the cases for that mistake.

Each mutant is checked with every MUST and SHOULD of level 4; cases that need a failed one are BLOCKED, and no others.
The correct servers pass everything. That takes half an hour (`make check-all`); `make test` runs only the cases that
fail at once. Spoofed datagrams and source ports below 1024 need root: without it, these cases and mutants are skipped.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest

from halloo._check.case import AnyCase
from halloo._check.catalogue import cases
from halloo._check.results import Result
from halloo._check.runner import RunOptions, run_all, run_case
from halloo._check.spec import ServerSpec
from tests._check.mutants import datagrams, servers
from tests._check.programs import LISTEN, WAIT, python

CASES = {case.id: case for case in cases() if case.id[0] != "C" and (case.runs_over("tcp") or case.id[0] == "U")}
# Cases that fail at once; others fail by a timeout, which takes seconds.
QUICK = {
    *("T01", "T04", "T05", "T09", "T12", "T18", "T19", "T20", "T22", "T28", "T35", "T44", "T48"),
    *("U01", "U02", "U04", "U05", "U06", "U08", "U10", "U12", "U18", "U19"),
}
NEED_ROOT = {"U12", "U13", "U15", "U16", "U17"}
CORRECT = ["reference", "threaded", "reference_udp", "lossy"]


@dataclass(frozen=True)
class Expected:
    """The cases that a mutant fails, and the likeliest cause of the first failure; empty if there is no diagnosis.

    `perhaps` are cases that fail depending on timing; `warns` are passed with a warning.
    """

    fails: str
    cause: str = ""
    perhaps: str = ""
    warns: str = ""


ACCEPT = "a failing accept() ends the server, or spins"
ANY_SOURCE = "every sender address gets a reply"
BUSY = "the program polls in a busy loop"
CLOSED_EARLY = "the connection is closed before everything was sent"
CLOSED_UNREAD = "the connection is closed with bytes unread"
CROSSED = "replies go to the wrong client, or only to the first"
DATAGRAM_ENDS = "an error about one datagram ends the server"
DECODED = "bytes are decoded before they are echoed"
EMPTY = "an empty datagram is taken for end of file"
ERROR_ENDS = "one client's error ends the server"
IGNORED_SEND = "the result of send() is ignored"
LINES = "lines are expected, stripped or added"
NEVER_CLOSED = "the connection is not closed when the client has finished"
SLOTS = "a pool limits the number of clients"
SMALL = "the buffer is too small for a datagram"
WAITS = "waiting for one client blocks the event loop"

MUTANTS: dict[type, Expected] = {
    servers.ExitsAtFailedGetpeername: Expected("T20", ACCEPT),
    servers.ClosesWithUnreadBytes: Expected("T34", CLOSED_UNREAD),
    servers.DecodesUtf8: Expected("T04", DECODED),
    # In T08 and T41 clients read while they write, so that there may be room for everything.
    servers.DropsUnsentBytes: Expected("T11 T16 T17 T33", IGNORED_SEND, perhaps="T08 T41"),
    servers.ExitsAtFailedShutdown: Expected("T48", ERROR_ENDS),
    servers.ExitsAtReset: Expected("T18 T19 T20 T22", ERROR_ENDS),
    servers.ExitsOutOfDescriptors: Expected("T29", ACCEPT),
    servers.PrintsTracebackAtInterrupt: Expected("T44", "Ctrl-C ends in a traceback"),
    # In the other cases the end of the stream arrives with the last bytes or while the server is sending.
    servers.DropsPendingBytesAtEof: Expected("T09 T11 T12 T17 T33 T49 T50", CLOSED_EARLY, perhaps="T08"),
    servers.HasAShortBacklog: Expected("T24", "the accept queue is short"),
    servers.HasASmallThreadPool: Expected("T39 T40", SLOTS),
    servers.IgnoresPartialSends: Expected("T33", IGNORED_SEND),
    servers.OmitsReuseaddr: Expected("T28", "the port cannot be bound again after a restart"),
    servers.LeaksDescriptorsAfterErrors: Expected("T22", "a connection is not closed after an error"),
    servers.LeaksDescriptors: Expected("T21", NEVER_CLOSED),
    servers.LeavesZombies: Expected("T21", "an exited child process is not reaped"),
    # Bytes of a closed client may be sent to the next one.
    servers.MixesClientsUp: Expected("T13", "state of one client is shared by all", perhaps="T18 T19 T20 T22"),
    servers.NeverCloses: Expected("T09 T10", NEVER_CLOSED),
    servers.BusyPolls: Expected("T36 T37", BUSY),
    servers.PrintsEachMessage: Expected("T46 T47", "each message is printed"),
    servers.ReadsLittleWithNagle: Expected("T26", "small writes wait for the peer's acknowledgement"),
    servers.Serves100Clients: Expected("T23 T24", SLOTS),
    servers.ExitsAfterOneClient: Expected("T35", "the server exits after its first client"),
    servers.ServesOneAtATime: Expected("T14", "one client at a time"),
    servers.SetsReuseport: Expected("T43", "two servers share the port"),
    servers.SleepsInItsLoop: Expected("T41", WAITS),
    servers.SpinsAtHalfClose: Expected("T37", BUSY),
    servers.SpinsOutOfDescriptors: Expected("", warns="T29"),
    servers.BlocksWhileSending: Expected("T15", WAITS),
    servers.StopsWithoutDraining: Expected("T34", CLOSED_UNREAD),
    servers.StripsLines: Expected("T03 T04", LINES),
    servers.ReceivesOnce: Expected("T01 T02 T03 T04 T05 T06 T07 T08", "one recv() is taken for one message"),
    servers.WaitsForLines: Expected("T03", LINES),
    servers.NeverReusesSlots: Expected("T51"),
    servers.QueuesWithoutLimit: Expected("T16", "output is buffered without a limit"),
    datagrams.RepliesToBroadcasts: Expected("U18", ANY_SOURCE),
    datagrams.SendsBroadcasts: Expected("U17", ANY_SOURCE),
    datagrams.RepliesFromWrongAddress: Expected("U10", "the reply is sent from a different address"),
    datagrams.RepliesToMulticastSources: Expected("U17", ANY_SOURCE),
    datagrams.RepliesToItsCopies: Expected("U15", ANY_SOURCE),
    datagrams.RepliesToItself: Expected("U13 U15", ANY_SOURCE),
    datagrams.RepliesToServicePorts: Expected("U12", ANY_SOURCE),
    datagrams.RepliesToLatestClient: Expected("U07", CROSSED),
    datagrams.RepliesTwice: Expected("U08", "a datagram is answered more than once"),
    datagrams.DecodesUtf8: Expected("U02", DECODED),
    datagrams.ExitsAtFailedSend: Expected("U16 U17", DATAGRAM_ENDS),
    datagrams.ExitsAtLargeDatagram: Expected("U05", SMALL),
    datagrams.ExitsAtEmptyDatagram: Expected("U03", EMPTY),
    datagrams.ExitsAtIcmpError: Expected("U09", DATAGRAM_ENDS),
    datagrams.JoinsDatagrams: Expected("U06", "datagrams are joined, as if they were a stream"),
    datagrams.AssumesAddressPairs: Expected("U20", "an address is assumed to be host and port"),
    datagrams.StarvesTcp: Expected("U21", "streams wait while datagrams arrive"),
    datagrams.HasAn8KibBuffer: Expected("U05", SMALL),
    datagrams.HasA1KibBuffer: Expected("U04 U05", SMALL),
    datagrams.SendsStaleBytes: Expected("U19", "the reply contains bytes of an earlier datagram"),
    datagrams.ServesOnlyFirstClient: Expected("U07", CROSSED),
    datagrams.IgnoresEmptyDatagrams: Expected("U03", EMPTY),
    datagrams.StripsLines: Expected("U01", LINES),
    datagrams.IsSlowBetweenDatagrams: Expected("U14", "slow work is done between two datagrams"),
    datagrams.DropsQueuedDatagrams: Expected("U06 U07", "datagrams received in between are discarded"),
}


def required(kind: str) -> list[AnyCase]:
    return [case for case in CASES.values() if case.id[0] == kind and case.severity != "INFO"]


def kind_of(mutant: type) -> str:
    return "U" if mutant.__module__ == datagrams.__name__ else "T"


def name_of(mutant: type) -> str:
    return f"{mutant.__module__.rpartition('.')[2]}.{mutant.__name__}"


def check_program(words: Sequence[str], cases_to_run: Sequence[AnyCase]) -> tuple[Result, ...]:
    """Run cases of one kind against a module started as a program."""
    scheme = "udp" if cases_to_run[0].id[0] == "U" else "tcp"
    spec = ServerSpec(scheme=scheme, command=(sys.executable, "-m", *words, "PORT"))
    return run_all(cases_to_run, lambda case: run_case(case, spec, RunOptions()), jobs=2)


def check_code(id: str, code: str, scheme: str = "tcp") -> Result:  # noqa: A002 - a case id
    return run_case(CASES[id], ServerSpec(scheme=scheme, command=python(code)), RunOptions())


def texts(results: Iterable[Result], *verdicts: str) -> dict[str, str]:
    """Return the texts of the results with these verdicts, by case."""
    return {result.case.id: result.text for result in results if result.verdict in verdicts}


def needing(failed: Iterable[str], cases_to_run: Sequence[AnyCase]) -> set[str]:
    """Return the cases that need one of these, directly or indirectly."""
    found = set(failed)
    while more := {case.id for case in cases_to_run if found.intersection(case.needs.split())} - found:
        found |= more
    return found - set(failed)


def skip_if_skipped(results: Iterable[Result], fails: Iterable[str]) -> None:
    """Skip the test if a case that should have failed cannot be run here."""
    if skipped := {case: why for case, why in texts(results, "SKIP").items() if case in fails}:
        pytest.skip("; ".join(f"{case} {why}" for case, why in skipped.items()))


def test_every_mutant_is_checked_and_every_must_and_should_is_failed_by_one() -> None:
    for module in (servers, datagrams):
        found = {each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__}
        assert found == {each for each in MUTANTS if each.__module__ == module.__name__}
    failed = {case for expected in MUTANTS.values() for case in expected.fails.split()}
    assert failed == {case.id for kind in "TU" for case in required(kind)}


BY_TIMING: dict[type, set[str]] = {servers.ReceivesOnce: {"T01", "T04"}}  # if it closes soon after its reply


@pytest.mark.parametrize(
    "mutant", [each for each, expected in MUTANTS.items() if QUICK & {*expected.fails.split()}], ids=name_of
)
def test_a_mutant_fails_its_quick_cases(mutant: type) -> None:
    """It echoes a line, unless that is its mistake, and fails the quick cases."""
    fails = QUICK & {*MUTANTS[mutant].fails.split()}
    kind, timing = kind_of(mutant), BY_TIMING.get(mutant, set[str]())
    results = check_program(
        (mutant.__module__, mutant.__name__), [CASES[each] for each in sorted({f"{kind}01", *fails})]
    )
    skip_if_skipped(results, fails)
    assert set(texts(results, "FAIL")) - timing == fails - timing


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=name_of)
def test_a_mutant_fails_exactly_the_cases_for_its_mistake(mutant: type) -> None:
    expected, cases_to_run = MUTANTS[mutant], required(kind_of(mutant))
    results = check_program((mutant.__module__, mutant.__name__), cases_to_run)
    skip_if_skipped(results, expected.fails.split())
    failed, perhaps = texts(results, "FAIL", "ERROR"), set(expected.perhaps.split())
    assert set(failed) - perhaps == set(expected.fails.split()), failed
    warned, blocked = texts(results, "WARN"), texts(results, "BLOCKED")
    assert set(warned) == set(expected.warns.split()), warned
    assert set(blocked) - perhaps == needing(failed, cases_to_run) - perhaps, blocked
    likeliest = [result.causes[0].name for result in results if result.verdict == "FAIL" and result.causes]
    assert likeliest[:1] == ([expected.cause] if expected.cause else []), likeliest


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_server_passes_everything(name: str) -> None:
    kind = "T" if name in CORRECT[:2] else "U"
    results = check_program((f"tests._check.{name}",), [case for case in CASES.values() if case.id[0] == kind])
    assert texts(results, "FAIL", "ERROR", "WARN", "BLOCKED") == {}
    if kind == "U":
        assert set(texts(results, "SKIP")) <= {*NEED_ROOT, "U20"}  # U20 needs IPv6
        skip_if_skipped(results, CASES)


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
    result = check_code("T52", serves_two)
    assert (result.verdict, result.pattern) == ("FAIL", "refused")


@pytest.mark.conformance
def test_children_that_still_listen_are_reported_by_t30() -> None:
    """T30 has severity INFO: it is not a failure."""
    serves_in_a_child = f"""import signal, threading\n{LISTEN}
if os.fork():
    signal.pause()
while True:
    conn, _ = s.accept()
    threading.Thread(target=lambda conn=conn: [conn.sendall(data) for data in iter(lambda: conn.recv(99), b'')]).start()
"""
    result = check_code("T30", serves_in_a_child)
    assert result.verdict == "INFO"
    assert "others of its processes still listen" in result.text


# A dual-stack socket, as in Go and Java: it serves IPv4 as well.
DUAL_STACK = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", int(sys.argv[1])))
while True:
    data, peer = s.recvfrom(65535)
    s.sendto(data, peer)
"""
TRUNCATES_MAPPED = DUAL_STACK.replace("(data,", '(data[:512] if peer[0].startswith("::ffff:") else data,')


@pytest.mark.parametrize(
    ("case", "server", "pattern"),
    [
        ("U20", DUAL_STACK, ""),
        ("U20", TRUNCATES_MAPPED, "short"),
        ("U12", DUAL_STACK, "answered"),
        ("U18", DUAL_STACK, "answered"),
    ],
)
def test_a_dual_stack_socket_is_checked_over_ipv4(case: str, server: str, pattern: str) -> None:
    result = check_code(case, server, "udp")
    skip_if_skipped([result], NEED_ROOT)
    assert (result.verdict, result.pattern) == ("FAIL" if pattern else "PASS", pattern)
