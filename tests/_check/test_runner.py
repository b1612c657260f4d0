"""Tests of the runner: each case gets a fresh program, within its time and means, in an order that makes sense."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from halloo._check.case import Case, Evidence, Failed, Severity, Skipped, Warned
from halloo._check.results import Result
from halloo._check.runner import RunOptions, ask, ask_all
from halloo._check.server.target import ServerTarget
from halloo._check.spec import ServerSpec
from halloo._core.address import Address
from tests._check.programs import ECHO, LISTEN, WAIT, python

SERVER = ServerSpec(command=python(ECHO))
IDLE = ServerSpec(command=python(LISTEN + WAIT))
TRIAL = RunOptions(seed=7)


def case(
    act: Callable[[ServerTarget], str | None],
    *,
    name: str = "t99_example",
    severity: Severity = "MUST",
    needs: tuple[str, ...] = (),
    alone: bool = False,
) -> Case:
    """Make a case of what a function does."""

    def run(target: ServerTarget) -> str | None:
        return act(target)

    run.__name__ = name
    return Case(run=run, passes="-", severity=severity, source="-", needs=needs, alone=alone)


def numbered(*numbers: int, needs: tuple[str, ...] = (), alone: bool = False) -> list[Case]:
    return [case(lambda _: None, name=f"t{number:02}_x", needs=needs, alone=alone) for number in numbers]


def answering(**verdicts: str) -> Callable[[Case], Result]:
    """Answer cases without a program, PASS unless said otherwise."""
    return lambda case: Result(case, verdicts.get(case.id, "PASS"))  # type: ignore[arg-type] # the words are verdicts


def verdicts(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.case.id: result.verdict for result in results}


# One case.


def test_a_case_that_returns_is_passed_and_its_note_kept() -> None:
    result = ask(case(lambda _: "in 3 ms"), SERVER, TRIAL)
    assert (result.verdict, result.text) == ("PASS", "in 3 ms")


def test_a_case_of_interest_only_is_information() -> None:
    assert ask(case(lambda _: "3 KiB each", severity="INFO"), SERVER, TRIAL).verdict == "INFO"


@pytest.mark.parametrize(
    ("outcome", "verdict"), [(Failed("it is"), "FAIL"), (Warned("it is"), "WARN"), (Skipped("it is"), "SKIP")]
)
def test_what_a_case_raises_is_its_verdict(outcome: Exception, verdict: str) -> None:
    def act(_: ServerTarget) -> None:
        raise outcome

    result = ask(case(act), SERVER, TRIAL)
    assert (result.verdict, result.text) == (verdict, "it is")


def test_a_failure_keeps_its_pattern_and_its_evidence() -> None:
    evidence = Evidence(3, b"abc", b"abd")

    def act(_: ServerTarget) -> None:
        raise Failed("it differs", pattern="changed", evidence=evidence)

    result = ask(case(act), SERVER, TRIAL)
    assert (result.pattern, result.evidence) == ("changed", evidence)


def test_a_fault_of_ours_does_not_pass_for_one_of_the_server() -> None:
    result = ask(case(lambda _: str(1 // 0)), SERVER, TRIAL)
    assert result.verdict == "ERROR"
    assert "ZeroDivisionError" in result.text


def test_each_case_has_a_program_of_its_own() -> None:
    pids = []

    def act(target: ServerTarget) -> None:
        pids.append(target.program.pid)

    for _ in range(2):
        ask(case(act), SERVER, TRIAL)
    assert len(set(pids)) == 2


def test_a_program_that_does_not_start_fails_the_case() -> None:
    result = ask(case(lambda _: None), ServerSpec(command=python("raise SystemExit(3)")), TRIAL)
    assert result.verdict == "FAIL"
    assert result.text == "it ended with code 3 before it listened; it said nothing"
    assert result.pattern == "unstarted"


def test_a_program_that_breaks_down_explains_why_its_client_failed() -> None:
    def act(target: ServerTarget) -> None:
        with target.dial() as client:
            client.ask(b"hello\n")

    # A second descriptor keeps the connection until the program has ended.
    breaks_down = f"{LISTEN}c = s.accept()[0]\nos.dup(c.fileno())\nc.recv(9)\nraise SystemExit('enough')"
    result = ask(case(act), ServerSpec(command=python(breaks_down)), TRIAL)
    assert result.text.startswith("the server ended with code 1; it said: ...'enough': sent b'hello\\n': ")
    assert result.pattern == "ended"


def test_the_seed_makes_the_same_choices_again() -> None:
    def act(target: ServerTarget) -> str:
        return str(target.chance().random())

    assert ask(case(act), SERVER, TRIAL).text == ask(case(act), SERVER, TRIAL).text
    assert ask(case(act), SERVER, TRIAL).text != ask(case(act), SERVER, RunOptions(seed=8)).text


def test_a_case_that_takes_too_long_is_ended() -> None:
    leap = [0.0]

    def act(target: ServerTarget) -> None:
        leap[0] = 61.0
        target.program.pause(20)

    result = ask(replace(case(act), kill=60), IDLE, replace(TRIAL, clock=lambda: time.monotonic() + leap[0]))
    assert result.verdict == "FAIL"
    assert result.text.startswith("not done within 60 s; then: the server ended with code -9")
    assert result.pattern == "overdue"


def test_a_program_that_takes_too_much_memory_is_ended() -> None:
    greedy = ServerSpec(command=python(f"{LISTEN}kept = bytearray(b'x' * (64 << 20))\n{WAIT}"))

    def act(target: ServerTarget) -> None:
        target.program.pause(20)

    result = ask(case(act), greedy, RunOptions(memory=32 << 20))
    assert result.text.startswith("more than 32 MiB of memory were used; then: ")


def test_memory_that_forked_processes_share_is_counted_once() -> None:
    family = f"{LISTEN}kept = b'x' * (16 << 20)\nfor _ in range(4):\n    if not os.fork():\n        break\n{WAIT}"

    def act(target: ServerTarget) -> str:
        assert target.program.soon(lambda: len(target.program.tree()) == 5, 10)
        assert target.program.resident() > 64 << 20 > target.program.owned()
        target.program.pause(0.3)
        return "lives"

    assert ask(case(act), ServerSpec(command=python(family)), RunOptions(memory=64 << 20)).text == "lives"


def test_a_program_that_starts_too_many_processes_is_ended() -> None:
    fertile = ServerSpec(command=python(f"{LISTEN}\nfor _ in range(5):\n    if not os.fork():\n        {WAIT}\n{WAIT}"))

    def act(target: ServerTarget) -> None:
        target.program.pause(20)

    result = ask(case(act), fertile, RunOptions(processes=4))
    assert result.text.startswith("more than 4 processes were begun; then: ")


# An address.


def test_an_address_is_asked_what_needs_no_process() -> None:
    def act(target: ServerTarget) -> str:
        return f"{target.host} {target.port} {target.most(32, 8)}"

    assert ask(case(act), ServerSpec(address=Address("tcp", "127.0.0.1", 9)), TRIAL).text == "127.0.0.1 9 8"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"process": True}, "needs the server's process: give its command instead of an address"),
        ({"harsh": "500 clients at once"}, "500 clients at once"),
    ],
)
def test_an_address_is_spared_what_is_not_for_it(change: dict[str, object], why: str) -> None:
    spared = replace(case(lambda _: None), **change)  # type: ignore[arg-type] # fields of a case
    result = ask(spared, ServerSpec(address=Address("tcp", "127.0.0.1", 9)), TRIAL)
    assert (result.verdict, result.text) == ("SKIP", why)


def test_nobody_at_the_address_fails_the_case() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    def act(target: ServerTarget) -> None:
        target.served()

    assert ask(case(act), ServerSpec(address=Address("tcp", "127.0.0.1", port)), TRIAL).pattern == "refused"


# Many.


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_back_in_the_order_of_the_cases(jobs: int) -> None:
    cases = [*numbered(1, needs=("T03",)), *numbered(2, 3)]
    assert [result.case.id for result in ask_all(cases, answering(), jobs=jobs)] == ["T01", "T02", "T03"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_others_need_is_asked_before_them(jobs: int) -> None:
    seen: list[str] = []
    cases = [*numbered(1, needs=("T02",)), *numbered(2, needs=("T03",)), *numbered(3)]
    ask_all(cases, answering(), jobs=jobs, watch=lambda result: seen.append(result.case.id))
    assert seen == ["T03", "T02", "T01"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("verdict", ["FAIL", "ERROR"])
def test_what_needs_a_failed_case_is_blocked_and_so_is_what_needs_that(verdict: str, jobs: int) -> None:
    cases = [*numbered(1), *numbered(2, needs=("T01",)), *numbered(3, needs=("T02",)), *numbered(4)]
    results = ask_all(cases, answering(T01=verdict), jobs=jobs)
    assert verdicts(results) == {"T01": verdict, "T02": "BLOCKED", "T03": "BLOCKED", "T04": "PASS"}
    assert [result.text for result in results[1:3]] == ["needs T01", "needs T02"]


@pytest.mark.parametrize("verdict", ["WARN", "SKIP", "INFO"])
def test_nothing_else_blocks(verdict: str) -> None:
    cases = [*numbered(1), *numbered(2, needs=("T01",))]
    assert verdicts(ask_all(cases, answering(T01=verdict)))["T02"] == "PASS"


def test_a_need_that_is_not_asked_does_not_block() -> None:
    assert verdicts(ask_all(numbered(2, needs=("T01",)), answering())) == {"T02": "PASS"}


def test_a_server_that_never_starts_is_not_tried_again() -> None:
    asked = []

    def one(case: Case) -> Result:
        asked.append(case.id)
        return Result(case, "FAIL", "it ended", pattern="unstarted")

    assert verdicts(ask_all(numbered(1, 2, 3), one)) == {"T01": "FAIL", "T02": "BLOCKED", "T03": "BLOCKED"}
    assert asked == ["T01"]


def test_two_jobs_are_two_cases_at_once() -> None:
    both = threading.Barrier(2)

    def one(case: Case) -> Result:
        both.wait(10)
        return Result(case, "PASS")

    assert verdicts(ask_all(numbered(1, 2), one, jobs=2)) == {"T01": "PASS", "T02": "PASS"}


def test_a_case_that_measures_time_runs_alone() -> None:
    running: list[str] = []
    seen: dict[str, list[str]] = {}

    def one(case: Case) -> Result:
        running.append(case.id)
        seen[case.id] = running.copy()
        running.remove(case.id)
        return Result(case, "PASS")

    ask_all([*numbered(1, 2, alone=True), *numbered(3, 4, 5)], one, jobs=2)
    assert list(seen)[-2:] == ["T01", "T02"]
    assert (seen["T01"], seen["T02"]) == (["T01"], ["T02"])


def test_whoever_watches_is_given_each_result_once() -> None:
    seen: list[Result] = []
    results = ask_all(numbered(1, 2, 3), answering(), jobs=2, watch=seen.append)
    assert sorted(result.case.id for result in seen) == [result.case.id for result in results]


def test_a_failure_is_given_its_likely_causes_once_all_is_known() -> None:
    def one(case: Case) -> Result:
        return Result(case, "FAIL", pattern="ended")

    alone = ask_all(numbered(20), one)
    with_others = ask_all(numbered(20, 18, 19, 22), one)
    assert alone[0].causes[0].name == "a failing accept() ends the server, or spins"
    assert with_others[0].causes[0].name == "one client's error ends the server"


def test_a_program_heeds_interrupts_even_when_the_check_runs_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with a job in the background
    try:
        ask_all([], lambda case: Result(case, "PASS"))
        code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)"
        assert subprocess.check_output([sys.executable, "-c", code]) == b"True\n"
    finally:
        signal.signal(signal.SIGINT, before)
