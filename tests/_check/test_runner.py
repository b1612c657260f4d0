"""Tests of the runner: each case gets a new program, with limits, after the cases that it needs."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from halloo._check.case import PROCESS, AnyCase, Evidence, Failed, Skipped, Warned
from halloo._check.execution import RunOptions, run_case
from halloo._check.processes import proportional_memory, resident_memory
from halloo._check.results import LOCAL_LIMIT, Result
from halloo._check.runner import check, with_causes
from halloo._check.scheduling import run_all
from halloo._check.server.target import ServerTarget
from halloo._check.spec import ServerSpec
from halloo._core.address import Address
from halloo.errors import AddressNotAvailable
from tests._check.programs import ECHO, LISTEN, WAIT, python
from tests.peers import unused_port

SERVER = ServerSpec(command=python(ECHO))
IDLE = ServerSpec(command=python(LISTEN + WAIT))
OPTIONS = RunOptions(seed=7)
EVIDENCE = Evidence(3, b"abc", b"abd")


def case(act: Callable[[ServerTarget], str | None], name: str = "t99_example", **fields: object) -> AnyCase:
    """Make a case from a function."""
    return replace(AnyCase("MUST", "-", "-"), **fields).of(name, "-", act)  # type: ignore[arg-type] # fields of a case


def numbered(*numbers: int, **fields: object) -> list[AnyCase]:
    return [case(lambda _: None, f"t{number:02}_x", **fields) for number in numbers]


def pause(target: ServerTarget) -> None:
    target.program.pause(20)


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


def test_an_outcome_that_a_case_raises_is_its_verdict() -> None:
    def found(outcome: Exception) -> Result:
        def act(_: ServerTarget) -> None:
            raise outcome

        return run_case(case(act), SERVER, OPTIONS)

    failed = found(Failed("it is", pattern="changed", evidence=EVIDENCE))
    assert (failed.verdict, failed.text, failed.pattern, failed.evidence) == ("FAIL", "it is", "changed", EVIDENCE)
    for outcome, verdict in ((Warned("it is"), "WARN"), (Skipped("it is"), "SKIP")):
        result = found(outcome)
        assert (result.verdict, result.text, result.pattern, result.evidence) == (verdict, "it is", "", None)
    lacking = found(AddressNotAvailable("it is", "close some"))
    assert (lacking.verdict, lacking.pattern) == ("ERROR", LOCAL_LIMIT)
    assert lacking.text == "AddressNotAvailable: it is; close some"


def test_another_exception_in_a_case_is_an_error_of_the_checker() -> None:
    result = run_case(case(lambda _: str(1 // 0)), SERVER, OPTIONS)
    assert result.verdict == "ERROR"
    assert "ZeroDivisionError" in result.text


def test_each_case_gets_a_new_program_and_the_seed_decides_the_choices() -> None:
    def act(target: ServerTarget) -> str:
        return f"{target.program.pid} {target.random().random()}"

    results = [run_case(case(act), SERVER, RunOptions(seed=seed)).text.split() for seed in (7, 7, 8)]
    assert len({pid for pid, _ in results}) == 3
    assert results[0][1] == results[1][1] != results[2][1]


def test_a_server_that_exits_is_named_as_the_cause_of_its_clients_failure() -> None:
    def act(target: ServerTarget) -> None:
        with target.connect() as client:
            client.roundtrip(b"hello\n")

    # A second descriptor keeps the connection until the program has ended.
    exits = f"{LISTEN}c = s.accept()[0]\nos.dup(c.fileno())\nc.recv(9)\nraise SystemExit('enough')"
    result = run_case(case(act), ServerSpec(command=python(exits)), OPTIONS)
    assert result.text.startswith("the server exited with code 1: sent b'hello\\n': ")
    assert result.text.endswith("\nenough")
    assert result.pattern == "ended exit-1"


def test_a_case_over_its_time_limit_is_stopped() -> None:
    leap = [0.0]

    def act(target: ServerTarget) -> None:
        leap[0] = 61.0
        target.program.pause(20)

    result = run_case(replace(case(act), kill=60), IDLE, replace(OPTIONS, clock=lambda: time.monotonic() + leap[0]))
    assert result.verdict == "FAIL"
    assert result.text == "not done within 60 s"
    assert result.pattern == "overdue"


def test_the_time_until_the_program_listens_is_no_part_of_the_time_limit(tmp_path: Path) -> None:
    may_listen, looks, leap = tmp_path / "may listen", [0], [0.0]

    def clock() -> float:
        """Leap while the program waits, and have it listen once the limits have been looked at after that."""
        if threading.current_thread().name == "halloo watch":
            looks[0] += 1
            leap[0] = 61.0 if looks[0] > 1 else 0.0
            if looks[0] == 4:
                may_listen.touch()
        return time.monotonic() + leap[0]

    code = f"import pathlib, sys\nwhile not pathlib.Path(sys.argv[2]).exists(): pass\n{LISTEN}{WAIT}"
    spec = ServerSpec(command=python(code, "PORT", str(may_listen)), start=600)
    result = run_case(replace(case(lambda _: "in time"), kill=60), spec, replace(OPTIONS, clock=clock))
    assert (result.verdict, result.text) == ("PASS", "in time")


def test_a_program_over_a_limit_is_killed() -> None:
    large = ServerSpec(command=python(f"{LISTEN}kept = bytearray(b'x' * (64 << 20))\n{WAIT}"))
    result = run_case(case(pause), large, RunOptions(memory=32 << 20))
    assert result.text == "more than 32 MiB of memory were used"
    forking = ServerSpec(command=python(f"{LISTEN}\nfor _ in range(5):\n    if not os.fork():\n        {WAIT}\n{WAIT}"))
    result = run_case(case(pause), forking, RunOptions(processes=4))
    assert result.text == "more than 4 processes were started"


def test_a_program_over_a_limit_is_killed_before_it_listens_even_if_its_port_is_not_known() -> None:
    large = f"kept = bytearray(b'x' * (64 << 20))\nimport signal\n{WAIT}"
    for words in ((), ("0",)):
        report = check(ServerSpec(command=python(large, *words)), numbered(1, 2), RunOptions(memory=32 << 20))
        assert (report.trouble, report.exit_code) == ("more than 32 MiB of memory were used", 1)


def test_a_second_copy_of_a_program_is_limited_too() -> None:
    def act(target: ServerTarget) -> None:
        with target.program.copy() as other:
            other.start()
            other.pause(20)

    code = f"{LISTEN}kept = bytearray(b'x' * (32 << 20))\n{WAIT}"
    result = run_case(case(act), ServerSpec(command=python(code)), RunOptions(memory=64 << 20))
    assert result.text == "more than 64 MiB of memory were used"


def test_memory_shared_by_forked_processes_is_counted_once() -> None:
    forking = f"{LISTEN}kept = b'x' * (16 << 20)\nfor _ in range(4):\n    if not os.fork():\n        break\n{WAIT}"

    def act(target: ServerTarget) -> str:
        assert target.program.wait_until(lambda: len(target.program.tree.running()) == 5, 10)
        tree = target.program.tree
        assert tree.total(resident_memory) > 64 << 20 > tree.total(proportional_memory)
        target.program.pause(0.3)
        return "lives"

    assert run_case(case(act), ServerSpec(command=python(forking)), RunOptions(memory=64 << 20)).text == "lives"


# An address.


def test_an_address_gets_the_reduced_load_and_no_case_that_needs_a_command() -> None:
    def act(target: ServerTarget) -> str:
        return f"{target.host} {target.port} {target.scale(32, 8)}"

    spec = ServerSpec(address=Address("tcp", "127.0.0.1", 9))
    assert run_case(case(act), spec, OPTIONS).text == "127.0.0.1 9 8"
    for why in (PROCESS, "500 clients at once"):
        result = run_case(case(act, command_only=why), spec, OPTIONS)
        assert (result.verdict, result.text) == ("SKIP", why)


def test_a_refused_connection_fails_the_case() -> None:
    def act(target: ServerTarget) -> None:
        target.check_served()

    spec = ServerSpec(address=Address("tcp", "127.0.0.1", unused_port()))
    assert run_case(case(act), spec, OPTIONS).pattern == "refused"


# Several cases.


@pytest.mark.parametrize("jobs", [1, 2])
def test_required_cases_are_run_first_and_results_are_in_the_order_of_the_cases(jobs: int) -> None:
    seen: list[str] = []
    cases = [*numbered(1, needs="T02"), *numbered(2, needs="T03"), *numbered(3)]
    results = run_all(cases, answering(), jobs=jobs, on_result=lambda result: seen.append(result.case.id))
    assert seen == ["T03", "T02", "T01"]
    assert [result.case.id for result in results] == ["T01", "T02", "T03"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_cases_that_need_a_failed_case_are_blocked_even_indirectly_and_no_others(jobs: int) -> None:
    cases = [*numbered(1), *numbered(2, needs="T01 T99"), *numbered(3, needs="T02"), *numbered(4)]
    for verdict in ("FAIL", "ERROR"):
        results = run_all(cases, answering(T01=verdict), jobs=jobs)
        assert verdicts(results) == {"T01": verdict, "T02": "BLOCKED", "T03": "BLOCKED", "T04": "PASS"}
        assert [result.text for result in results[1:3]] == ["needs T01", "needs T02"]
    for verdict in ("WARN", "SKIP", "INFO"):
        assert verdicts(run_all(cases, answering(T01=verdict), jobs=jobs))["T02"] == "PASS"


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
        pause(target)

    def interrupt(_target: ServerTarget) -> None:
        waiting.wait(20)
        raise KeyboardInterrupt

    def one(case: AnyCase) -> Result:
        started.append(case.id)
        return run_case(case, IDLE, options)

    cases = [case(interrupt, "t01_x"), case(idle, "t02_x"), *numbered(*range(3, 99))]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all(cases, one, jobs=2, on_result=lambda result: seen.append(result.case.id), stopped=options.stopped)
    assert time.monotonic() - began < 15
    assert "T02" in started
    assert "T02" not in seen
    assert len(started) < 98


def test_the_cause_of_a_failure_depends_on_all_results() -> None:
    failed = tuple(Result(case, "FAIL", pattern="ended") for case in numbered(18, 19, 20))
    passed = tuple(Result(case, "PASS") for case in numbered(18, 19, 35))
    alone, with_others = with_causes((failed[2], *passed[:2])), with_causes((*failed, passed[2]))
    assert [cause.id for cause in alone[0].causes] == ["accept-error"]
    assert [cause.id for result in with_others for cause in result.causes] == ["error-ends-server"] * 3


def test_a_program_can_be_interrupted_even_if_the_check_runs_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with a job in the background
    try:
        run_all([], lambda case: Result(case, "PASS"))
        code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)"
        assert subprocess.check_output([sys.executable, "-c", code]) == b"True\n"
    finally:
        signal.signal(signal.SIGINT, before)
