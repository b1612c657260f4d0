"""Tests of the checker: every mutant, a server with one mistake, fails exactly the cases for that mistake.

Each mutant is checked with every MUST and SHOULD of level 4; cases that need a failed one are BLOCKED, and no others.
The correct servers pass everything. That takes half an hour (`make check-all`); `make test` runs only the cases that
fail at once. Spoofed datagrams and source ports below 1024 need root: without it, these cases and mutants are skipped.
"""

import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from halloo._check.case import AnyCase
from halloo._check.catalogue import cases
from halloo._check.diagnoses import diagnoses
from halloo._check.execution import RunOptions, run_case
from halloo._check.results import Result
from halloo._check.runner import check
from halloo._check.scheduling import run_all
from halloo._check.spec import ServerSpec, parse_transform
from tests._check.mutants import datagrams, servers
from tests._check.programs import ECHO, LINES, LISTEN, WAIT, Mutant, python

CASES = {case.id: case for case in cases() if case.id[0] != "C" and (case.runs_over("tcp") or case.id[0] == "U")}
# Cases that fail at once; others fail by a timeout, which takes seconds.
QUICK = {
    *("T01", "T04", "T05", "T09", "T12", "T18", "T19", "T20", "T22", "T28", "T35", "T44", "T48"),
    *("U01", "U02", "U04", "U05", "U06", "U08", "U10", "U12", "U18", "U19"),
}
NEED_ROOT = {"U12", "U13", "U15", "U16", "U17"}
MUTANTS = (*servers.MUTANTS, *datagrams.MUTANTS)
CORRECT = {
    "reference": (sys.executable, "-m", "tests._check.reference"),
    "threaded": (sys.executable, "-m", "tests._check.threaded"),
    "reference_udp": (sys.executable, "-m", "tests._check.reference_udp"),
    "lossy": datagrams.LOSSY.command(),
}


def required(kind: str) -> list[AnyCase]:
    return [case for case in CASES.values() if case.id[0] == kind and case.severity != "INFO"]


def kind_of(mutant: Mutant) -> str:
    return "U" if mutant in datagrams.MUTANTS else "T"


def check_program(command: Sequence[str], cases_to_run: Sequence[AnyCase], *, jobs: int = 2) -> tuple[Result, ...]:
    """Run cases of one kind against a program."""
    spec = ServerSpec(scheme="udp" if cases_to_run[0].id[0] == "U" else "tcp", command=(*command, "PORT"))
    report = check(spec, cases_to_run, RunOptions(jobs=jobs))
    assert not report.trouble
    return report.results


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


def test_every_must_and_should_is_failed_by_a_mutant() -> None:
    failed = {case for mutant in MUTANTS for case in mutant.fails}
    assert failed == {case.id for kind in "TU" for case in required(kind)}
    assert {mutant.cause for mutant in MUTANTS} - {""} <= {each.id for each in diagnoses()}


@pytest.mark.timeout(300)
def test_each_mutant_fails_its_quick_cases() -> None:
    """It echoes a line, unless that is its mistake, and fails the quick cases."""

    def unexpected(mutant: Mutant) -> str:
        command, fails = mutant.command(), QUICK & mutant.fails
        if not fails or mutant.mistake == "exits at a large datagram":  # each size of U05 waits for it
            return ""
        chosen = [CASES[each] for each in sorted({f"{kind_of(mutant)}01", *fails})]
        results = check_program(command, chosen, jobs=1)
        # Without root some cases are skipped; T01 and T04 fail by timing if a server closes soon after its reply.
        unclear = set(texts(results, "SKIP")) & NEED_ROOT | ({"T01", "T04"} if "T02" in mutant.fails else set())
        failed = texts(results, "FAIL", "ERROR")
        return "" if set(failed) - unclear == fails - unclear else f"{mutant.mistake}: {failed}, not {fails}"

    with ThreadPoolExecutor(4) as pool:  # most of them wait
        assert [*filter(None, pool.map(unexpected, MUTANTS))] == []


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_a_mutant_fails_exactly_the_cases_for_its_mistake(mutant: Mutant) -> None:
    cases_to_run, fails, perhaps = required(kind_of(mutant)), mutant.fails, set(mutant.perhaps.split())
    results = check_program(mutant.command(), cases_to_run)
    skip_if_skipped(results, fails)
    failed, warned, blocked = texts(results, "FAIL", "ERROR"), texts(results, "WARN"), texts(results, "BLOCKED")
    assert set(failed) - perhaps == fails, failed
    assert set(warned) == set(mutant.warns.split()), warned
    assert set(blocked) - perhaps == needing(failed, cases_to_run) - perhaps, blocked
    assert {cause.id for result in results for cause in result.causes} == {*filter(None, [mutant.cause])}


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_server_passes_everything(name: str) -> None:
    kind = "U" if name in ("reference_udp", "lossy") else "T"
    results = check_program(CORRECT[name], [case for case in CASES.values() if case.id[0] == kind])
    assert texts(results, "FAIL", "ERROR", "WARN", "BLOCKED") == {}
    if kind == "U":
        assert set(texts(results, "SKIP")) <= {*NEED_ROOT, "U20"}  # U20 needs IPv6
        skip_if_skipped(results, CASES)


@pytest.mark.parametrize(
    ("reply", "pattern", "fact"),
    [
        ("b'You said: ' + data", "inserted", "at offset 0 10 bytes are inserted: b'You said: '"),
        ("data + b'> '", "surplus inserted", "2 unexpected bytes were received after 4 bytes sent and 6 received"),
        (
            "data + b'\\n'",
            "surplus inserted newline",
            "1 unexpected byte was received after 4 bytes sent and 5 received",
        ),
        ("data + b'\\0'", "surplus inserted nul", "1 unexpected byte was received after 4 bytes sent and 5 received"),
        ("data.strip()", "short newline", "3 of 4 bytes came back, then nothing for 2 s"),
        ("data + data", "surplus again", "4 unexpected bytes were received after 4 bytes sent and 8 received"),
        ("data.upper()", "changed upper", "at offset 0 other bytes were received than expected"),
    ],
)
def test_bytes_that_were_added_or_lost_or_changed_are_named(reply: str, pattern: str, fact: str) -> None:
    result = check_code("T05", ECHO.replace("sendall(data)", f"sendall({reply})"))
    assert (result.verdict, result.pattern) == ("FAIL", pattern)
    assert fact in result.text


@pytest.mark.parametrize(("name", "change"), [("upper", "bytes.upper"), ("reverse", "lambda line: line[::-1]")])
def test_a_server_of_changed_lines_gets_whole_lines(name: str, change: str) -> None:
    spec = ServerSpec(command=python(f"change = {change}\n{LINES}"), expect=parse_transform(name))
    chosen = [CASES[each] for each in ("T01", "T03", "T04", "T05", "T06", "T07", "T09", "T12", "T23")]
    results = run_all(chosen, lambda case: run_case(case, spec, RunOptions()), jobs=2)
    assert texts(results, "FAIL", "ERROR", "WARN", "BLOCKED") == {}
    assert texts(results, "SKIP") == {"T03": "a server that changes lines may wait for the end of one"}


def test_datagrams_of_a_server_that_changes_them_have_no_newline() -> None:
    """Whether a newline counts as part of the datagram is not known."""
    server = DUAL_STACK.replace("sendto(data,", "sendto(data[::-1],")
    spec = ServerSpec(scheme="udp", command=python(server), expect=parse_transform("reverse"))
    chosen = [case for case in required("U") if case.id in QUICK | {"U07"} and case.id not in ("U10", "U12", "U18")]
    results = run_all(chosen, lambda case: run_case(case, spec, RunOptions()), jobs=2)
    assert texts(results, "FAIL", "ERROR", "BLOCKED") == {}


@pytest.mark.parametrize(("end", "words"), [("break", "exit-0"), ("sys.exit(3)", "exit-3"), ("os.abort()", "SIGABRT")])
def test_a_server_that_ends_is_named_with_its_exit_code(end: str, words: str) -> None:
    result = check_code("T35", ECHO.replace("while data :=", "if data :=") + f"    {end}\n")
    assert result.verdict == "FAIL"
    assert {"ended", words} <= set(result.pattern.split())
    assert result.text.startswith(("the server exited with code", "the server was ended by SIGABRT"))


def test_a_server_that_exits_when_its_client_closes_is_not_said_to_have_exited_before() -> None:
    one_client = f"""{LISTEN}
conn, _ = s.accept()
while data := conn.recv(99):
    conn.sendall(data)
"""
    result = check_code("T14", one_client)
    assert result.text.startswith("a new client while another is connected: sent b'and now?\\n': 0 of 9 bytes")
    assert result.pattern == "unserved silent"


@pytest.mark.parametrize(("backlog", "chosen"), [(0, "T13 T15 T20 T21 T22 T23"), (128, "T24")])
def test_a_short_backlog_is_enough_except_for_a_burst_of_clients(backlog: int, chosen: str) -> None:
    """A tutorial calls listen(1), `socket.create_server` listen(128)."""
    server = Mutant("", {"backlog=4096": f"backlog={backlog}"})
    results = check_program(server.command(), [CASES[each] for each in chosen.split()])
    assert texts(results, "FAIL", "ERROR", "WARN", "BLOCKED") == {}


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


SHARED = LISTEN.replace("create_server((", "create_server(reuse_port=True, address=(")


@pytest.mark.parametrize(
    ("code", "verdict", "text"),
    [
        (f"{LISTEN}{WAIT}", "FAIL", "sent b'and now?\\n': 0 of 9 bytes came back within 3 s"),
        (ECHO, "PASS", "exit code 1: Traceback (most recent call last):"),
        (ECHO.replace(LISTEN, SHARED), "FAIL", "the second copy listens on the same port"),
        (
            ECHO.replace(LISTEN, f"try:{LISTEN.replace(chr(10), chr(10) + ' ')}\nexcept OSError: os._exit(0)\n"),
            "FAIL",
            "the second copy exited with code 0",
        ),
        (
            ECHO.replace(LISTEN, f"try:{LISTEN.replace(chr(10), chr(10) + ' ')}\nexcept OSError: os.abort()\n"),
            "FAIL",
            "the second copy was ended by SIGABRT",
        ),
    ],
    ids=["serves nobody", "correct", "shared", "silent", "crash"],
)
def test_what_a_second_copy_does_is_told_as_it_was(code: str, verdict: str, text: str) -> None:
    result = check_code("T43", code)
    assert (result.verdict, result.text.splitlines()[0]) == (verdict, text)


def test_a_second_copy_gets_the_path_of_the_first() -> None:
    unix = LISTEN.replace('create_server(("127.0.0.1", int(sys.argv[1])))', "socket(socket.AF_UNIX)")
    code = ECHO.replace(LISTEN, f"{unix}s.bind(sys.argv[1])\ns.listen()\n")
    spec = ServerSpec(scheme="unix", command=python(code, "{path}"))
    assert run_case(CASES["T43"], spec, RunOptions()).verdict == "PASS"


@pytest.mark.parametrize("case", ["T43", "T44"])
def test_a_daemon_is_not_asked_for_what_only_a_foreground_process_has(case: str) -> None:
    result = check_code(case, f"import os\nif os.fork(): os._exit(0)\nos.setsid()\n{ECHO}")
    assert (result.verdict, result.text.partition(",")[0]) == ("SKIP", "the server runs in the background")


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
        ("U20", TRUNCATES_MAPPED, "short at-newline round at-512"),
        ("U12", DUAL_STACK, "answered"),
        ("U18", DUAL_STACK, "answered"),
    ],
)
def test_a_dual_stack_socket_is_checked_over_ipv4(case: str, server: str, pattern: str) -> None:
    result = check_code(case, server, "udp")
    skip_if_skipped([result], NEED_ROOT)
    assert (result.verdict, result.pattern) == ("FAIL" if pattern else "PASS", pattern)
