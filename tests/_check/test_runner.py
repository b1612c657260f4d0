"""Tests of the runner: each case gets a new program, with limits, after the cases that it needs."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from halloo._check.case import PROCESS, AnyCase, Case, Evidence, Failed, Severity, Skipped, Warned
from halloo._check.processes import proportional_memory, resident_memory
from halloo._check.results import LOCAL_LIMIT, Result
from halloo._check.runner import RunOptions, run_all, run_case
from halloo._check.server.target import ServerTarget
from halloo._check.spec import ServerSpec
from halloo._core.address import Address
from halloo.errors import AddressNotAvailable
from tests._check.programs import ECHO, LISTEN, WAIT, python

SERVER = ServerSpec(command=python(ECHO))
IDLE = ServerSpec(command=python(LISTEN + WAIT))
OPTIONS = RunOptions(seed=7)
EVIDENCE = Evidence(3, b"abc", b"abd")


def case(
    act: Callable[[ServerTarget], str | None],
    *,
    name: str = "t99_example",
    severity: Severity = "MUST",
    needs: str = "",
    alone: bool = False,
) -> AnyCase:
    """Make a case from a function."""
    return Case(severity, "-", "-", needs, alone=alone).of(name, "-", act)


def numbered(*numbers: int, needs: str = "", alone: bool = False) -> list[AnyCase]:
    return [case(lambda _: None, name=f"t{number:02}_x", needs=needs, alone=alone) for number in numbers]


def answering(**verdicts: str) -> Callable[[AnyCase], Result]:
    """Give results without a program, by default PASS."""
    return lambda case: Result(case, verdicts.get(case.id, "PASS"))  # type: ignore[arg-type] # the words are verdicts


def verdicts(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.case.id: result.verdict for result in results}


# One case.


def test_a_case_that_returns_passes_and_its_note_is_kept() -> None:
    result = run_case(case(lambda _: "in 3 ms"), SERVER, OPTIONS)
    assert (result.verdict, result.text) == ("PASS", "in 3 ms")
    assert run_case(case(lambda _: "3 KiB each", severity="INFO"), SERVER, OPTIONS).verdict == "INFO"


@pytest.mark.parametrize(
    ("outcome", "verdict", "pattern"),
    [
        (Failed("it is", pattern="changed", evidence=EVIDENCE), "FAIL", "changed"),
        (Warned("it is"), "WARN", ""),
        (Skipped("it is"), "SKIP", ""),
        (AddressNotAvailable("it is", "close some"), "ERROR", LOCAL_LIMIT),
    ],
)
def test_an_outcome_that_a_case_raises_is_its_verdict(outcome: Exception, verdict: str, pattern: str) -> None:
    def act(_: ServerTarget) -> None:
        raise outcome

    result = run_case(case(act), SERVER, OPTIONS)
    assert (result.verdict, result.pattern) == (verdict, pattern)
    assert result.text == ("AddressNotAvailable: it is; close some" if pattern == LOCAL_LIMIT else "it is")
    assert result.evidence == (EVIDENCE if verdict == "FAIL" else None)


def test_another_exception_in_a_case_is_an_error_of_the_checker() -> None:
    result = run_case(case(lambda _: str(1 // 0)), SERVER, OPTIONS)
    assert result.verdict == "ERROR"
    assert "ZeroDivisionError" in result.text


def test_each_case_gets_a_new_program() -> None:
    pids = []

    def act(target: ServerTarget) -> None:
        pids.append(target.program.pid)

    for _ in range(2):
        run_case(case(act), SERVER, OPTIONS)
    assert len(set(pids)) == 2


def test_a_server_that_exits_is_named_as_the_cause_of_its_clients_failure() -> None:
    def act(target: ServerTarget) -> None:
        with target.connect() as client:
            client.roundtrip(b"hello\n")

    # A second descriptor keeps the connection until the program has ended.
    exits = f"{LISTEN}c = s.accept()[0]\nos.dup(c.fileno())\nc.recv(9)\nraise SystemExit('enough')"
    result = run_case(case(act), ServerSpec(command=python(exits)), OPTIONS)
    assert result.text.startswith("the server exited with code 1; its output: ...'enough': sent b'hello\\n': ")
    assert result.pattern == "ended"


def test_the_seed_decides_the_choices() -> None:
    def act(target: ServerTarget) -> str:
        return str(target.random().random())

    again, other = (run_case(case(act), SERVER, RunOptions(seed=seed)).text for seed in (7, 8))
    assert run_case(case(act), SERVER, OPTIONS).text == again != other


def test_a_case_over_its_time_limit_is_stopped() -> None:
    leap = [0.0]

    def act(target: ServerTarget) -> None:
        leap[0] = 61.0
        target.program.pause(20)

    result = run_case(replace(case(act), kill=60), IDLE, replace(OPTIONS, clock=lambda: time.monotonic() + leap[0]))
    assert result.verdict == "FAIL"
    assert result.text.startswith("not done within 60 s; then: the server exited with code -9")
    assert result.pattern == "overdue"


def test_a_program_over_the_memory_limit_is_killed() -> None:
    large = ServerSpec(command=python(f"{LISTEN}kept = bytearray(b'x' * (64 << 20))\n{WAIT}"))

    def act(target: ServerTarget) -> None:
        target.program.pause(20)

    result = run_case(case(act), large, RunOptions(memory=32 << 20))
    assert result.text.startswith("more than 32 MiB of memory were used; then: ")


def test_memory_shared_by_forked_processes_is_counted_once() -> None:
    forking = f"{LISTEN}kept = b'x' * (16 << 20)\nfor _ in range(4):\n    if not os.fork():\n        break\n{WAIT}"

    def act(target: ServerTarget) -> str:
        assert target.program.wait_until(lambda: len(target.program.tree.running()) == 5, 10)
        tree = target.program.tree
        assert tree.total(resident_memory) > 64 << 20 > tree.total(proportional_memory)
        target.program.pause(0.3)
        return "lives"

    assert run_case(case(act), ServerSpec(command=python(forking)), RunOptions(memory=64 << 20)).text == "lives"


def test_a_program_that_starts_too_many_processes_is_killed() -> None:
    forking = ServerSpec(command=python(f"{LISTEN}\nfor _ in range(5):\n    if not os.fork():\n        {WAIT}\n{WAIT}"))

    def act(target: ServerTarget) -> None:
        target.program.pause(20)

    result = run_case(case(act), forking, RunOptions(processes=4))
    assert result.text.startswith("more than 4 processes were started; then: ")


# An address.


def test_an_address_gets_the_reduced_load() -> None:
    def act(target: ServerTarget) -> str:
        return f"{target.host} {target.port} {target.scale(32, 8)}"

    assert run_case(case(act), ServerSpec(address=Address("tcp", "127.0.0.1", 9)), OPTIONS).text == "127.0.0.1 9 8"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"command_only": PROCESS}, "needs the server's process: give its command instead of an address"),
        ({"command_only": "500 clients at once"}, "500 clients at once"),
    ],
)
def test_cases_that_need_a_command_are_skipped_for_an_address(change: dict[str, object], why: str) -> None:
    skipped = replace(case(lambda _: None), **change)  # type: ignore[arg-type] # fields of a case
    result = run_case(skipped, ServerSpec(address=Address("tcp", "127.0.0.1", 9)), OPTIONS)
    assert (result.verdict, result.text) == ("SKIP", why)


def test_a_refused_connection_fails_the_case() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    def act(target: ServerTarget) -> None:
        target.check_served()

    assert run_case(case(act), ServerSpec(address=Address("tcp", "127.0.0.1", port)), OPTIONS).pattern == "refused"


# Several cases.


@pytest.mark.parametrize("jobs", [1, 2])
def test_required_cases_are_run_first_and_results_are_in_the_order_of_the_cases(jobs: int) -> None:
    seen: list[str] = []
    cases = [*numbered(1, needs="T02"), *numbered(2, needs="T03"), *numbered(3)]
    results = run_all(cases, answering(), jobs=jobs, on_result=lambda result: seen.append(result.case.id))
    assert seen == ["T03", "T02", "T01"]
    assert [result.case.id for result in results] == ["T01", "T02", "T03"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("verdict", ["FAIL", "ERROR"])
def test_cases_that_need_a_failed_case_are_blocked_even_indirectly(verdict: str, jobs: int) -> None:
    cases = [*numbered(1), *numbered(2, needs="T01"), *numbered(3, needs="T02"), *numbered(4)]
    results = run_all(cases, answering(T01=verdict), jobs=jobs)
    assert verdicts(results) == {"T01": verdict, "T02": "BLOCKED", "T03": "BLOCKED", "T04": "PASS"}
    assert [result.text for result in results[1:3]] == ["needs T01", "needs T02"]


def test_other_verdicts_and_cases_that_are_not_selected_block_none() -> None:
    for verdict in ("WARN", "SKIP", "INFO"):
        cases = [*numbered(1), *numbered(2, needs="T01 T99")]
        assert verdicts(run_all(cases, answering(T01=verdict)))["T02"] == "PASS"


def test_a_server_that_did_not_start_is_not_started_again() -> None:
    run = []

    def one(case: AnyCase) -> Result:
        run.append(case.id)
        return Result(case, "FAIL", "it ended", pattern="unstarted")

    assert verdicts(run_all(numbered(1, 2, 3), one)) == {"T01": "FAIL", "T02": "BLOCKED", "T03": "BLOCKED"}
    assert run == ["T01"]


def test_two_jobs_run_two_cases_at_once() -> None:
    both = threading.Barrier(2)

    def one(case: AnyCase) -> Result:
        both.wait(10)
        return Result(case, "PASS")

    assert verdicts(run_all(numbered(1, 2), one, jobs=2)) == {"T01": "PASS", "T02": "PASS"}


def test_a_case_that_measures_time_runs_alone() -> None:
    running: list[str] = []
    seen: dict[str, list[str]] = {}

    def one(case: AnyCase) -> Result:
        running.append(case.id)
        seen[case.id] = running.copy()
        running.remove(case.id)
        return Result(case, "PASS")

    run_all([*numbered(1, 2, alone=True), *numbered(3, 4, 5)], one, jobs=2)
    assert list(seen)[-2:] == ["T01", "T02"]
    assert (seen["T01"], seen["T02"]) == (["T01"], ["T02"])


def test_an_interrupt_kills_the_programs_of_concurrent_cases_and_prevents_further_ones() -> None:
    options, seen, started = RunOptions(), list[str](), list[str]()
    waiting = threading.Event()

    def idle(target: ServerTarget) -> None:
        waiting.set()
        target.program.pause(20)

    def interrupt(_target: ServerTarget) -> None:
        waiting.wait(20)
        raise KeyboardInterrupt

    def one(case: AnyCase) -> Result:
        started.append(case.id)
        return run_case(case, IDLE, options)

    cases = [case(interrupt, name="t01_x"), case(idle, name="t02_x"), *numbered(*range(3, 99))]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all(cases, one, jobs=2, on_result=lambda result: seen.append(result.case.id), stopped=options.stopped)
    assert time.monotonic() - began < 15
    assert "T02" in started
    assert "T02" not in seen
    assert len(started) < 98


def test_the_causes_of_a_failure_depend_on_all_results() -> None:
    def one(case: AnyCase) -> Result:
        return Result(case, "FAIL", pattern="ended")

    alone = run_all(numbered(20), one)
    with_others = run_all(numbered(20, 18, 19, 22), one)
    assert alone[0].causes[0].name == "a failing accept() ends the server, or spins"
    assert with_others[0].causes[0].name == "one client's error ends the server"


def test_a_program_can_be_interrupted_even_if_the_check_runs_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with a job in the background
    try:
        run_all([], lambda case: Result(case, "PASS"))
        code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)"
        assert subprocess.check_output([sys.executable, "-c", code]) == b"True\n"
    finally:
        signal.signal(signal.SIGINT, before)
