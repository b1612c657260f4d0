"""Ask one question after another: each of a fresh process, within its time and means, and only where it makes sense.

Knows programs, threads and the clock. Whoever watches is given each result as soon as it is there.
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from halloo._check.case import Case, Evidence, Failed, Outcome, Skipped, Verdict, Warned
from halloo._check.diagnoses import likely
from halloo._check.results import BAD, Result
from halloo._check.server.program import UNSTARTED, Program
from halloo._check.server.target import ServerTarget
from halloo._check.spec import ServerSpec

MEMORY = 2 << 30  # bytes of all its processes
PROCESSES = 4096
LOOK = 0.1  # seconds between two looks at them
DYING = 0.3  # seconds from the last that a client sees of a server to its end
_VERDICTS: dict[type[Outcome], Verdict] = {Failed: "FAIL", Warned: "WARN", Skipped: "SKIP"}

Ask = Callable[[Case], Result]
Watch = Callable[[Result], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The conditions under which a subject is asked."""

    seed: int = 1
    longer: bool = False
    clock: Callable[[], float] = time.monotonic
    memory: int = MEMORY
    processes: int = PROCESSES


def ask(case: Case, subject: ServerSpec, trial: RunOptions) -> Result:
    """Ask one case, of a program started for it or of an address."""
    if not subject.command and (case.process or case.harsh):
        why = case.harsh or "needs the server's process: give its command instead of an address"
        return Result(case, "SKIP", why)
    began = trial.clock()
    program = Program(subject, trial.clock) if subject.command else None
    try:
        with _watched(program, case.kill, trial):
            verdict, text, evidence, pattern = _asked(case, subject, program, trial)
    finally:
        if program:
            program.close()
    if program and program.expired and verdict != "ERROR":
        verdict, text, pattern = "FAIL", f"{program.expired}; then: {text}", "overdue"
    return Result(case, verdict, text, trial.clock() - began, evidence, pattern)


def _asked(
    case: Case, subject: ServerSpec, program: Program | None, trial: RunOptions
) -> tuple[Verdict, str, Evidence | None, str]:
    try:
        if program:
            program.start()
        note = case.run(ServerTarget.of(subject, program, clock=trial.clock, seed=trial.seed, longer=trial.longer))
    except Failed as failure:
        if program:
            failure = _explained(failure, program)
        return "FAIL", str(failure), failure.evidence, failure.pattern
    except Outcome as outcome:
        return _VERDICTS[type(outcome)], str(outcome), None, ""
    except Exception:  # noqa: BLE001 - a fault of ours must not pass for one of the server
        return "ERROR", traceback.format_exc(), None, ""
    return ("INFO" if case.severity == "INFO" else "PASS"), note or "", None, ""


def _explained(failure: Failed, program: Program) -> Failed:
    """Say that the server has ended, where that is why its clients failed."""
    if failure.pattern not in ("refused", "reset", "cut", "silent", "unserved"):
        return failure
    try:
        program.check_alive(DYING)
    except Failed as ended:
        return failure if str(ended) in str(failure) else failure.within(str(ended), pattern="ended")
    return failure


@contextmanager
def _watched(program: Program | None, seconds: float, trial: RunOptions) -> Iterator[None]:
    """End a program that takes too long or too much."""
    if program is None:
        yield
        return
    over, deadline = threading.Event(), trial.clock() + seconds

    def watch() -> None:
        while not over.wait(LOOK):
            if trial.clock() > deadline:
                program.expire(f"not done within {seconds:g} s")
            with suppress(Failed):  # it is just being started again
                if why := _excess(program, trial):
                    program.expire(why)

    thread = threading.Thread(target=watch, name="halloo watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _excess(program: Program, trial: RunOptions) -> str:
    """Say of what it has too much."""
    if not program.started:
        return ""
    if len(program.tree()) > trial.processes:
        return f"more than {trial.processes:,} processes were begun"
    if program.resident() > trial.memory and program.owned() > trial.memory:
        return f"more than {trial.memory >> 20:,} MiB of memory were used"
    return ""


def ask_all(cases: Sequence[Case], ask_one: Ask, *, jobs: int = 1, watch: Watch = repr) -> tuple[Result, ...]:
    """Ask all of them, up to `jobs` at a time; those that need one that failed are BLOCKED, timing ones run alone."""
    heed_interrupts()
    order = _in_order(cases)
    results: dict[str, Result] = {}
    telling = threading.Lock()  # whoever watches need not know of the jobs

    def settle(case: Case) -> Result:
        missing = [need for need in case.needs if need in results and results[need].verdict in (*BAD, "BLOCKED")]
        if missing:
            result = Result(case, "BLOCKED", f"needs {missing[0]}")
        elif results and all(result.pattern == UNSTARTED or result.verdict == "BLOCKED" for result in results.values()):
            result = Result(case, "BLOCKED", "it did not start")
        else:
            result = ask_one(case)
        results[case.id] = result
        with telling:
            watch(result)
        return result

    beside = [case for case in order if not (jobs > 1 and case.alone)]
    if jobs == 1:
        for case in beside:
            settle(case)
    else:
        _together(beside, settle, jobs)
        for case in order:
            if case.alone:
                settle(case)
    return ranked(tuple(results[case.id] for case in cases))


def heed_interrupts() -> None:
    """Have the programs that are started from now on end at ^C, even if we do not.

    A shell has ^C ignored by what it puts in the background, and a program inherits that, but no handler (exec(2)).
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda _number, _frame: None)


def _together(cases: Sequence[Case], settle: Ask, jobs: int) -> None:
    futures: dict[str, Future[Result]] = {}

    def run(case: Case, needed: Mapping[str, Future[Result]]) -> Result:
        for future in needed.values():
            future.result()
        return settle(case)

    with ThreadPoolExecutor(jobs, thread_name_prefix="halloo check") as pool:
        for case in cases:  # what is needed comes first, so nobody waits for what has not begun
            futures[case.id] = pool.submit(run, case, {need: futures[need] for need in case.needs if need in futures})
        for future in futures.values():
            future.result()


def _in_order(cases: Sequence[Case]) -> list[Case]:
    """Put what others need before them."""
    known, order = {case.id: case for case in cases}, dict[str, Case]()

    def add(case: Case) -> None:
        for need in case.needs:
            if need in known and need not in order:
                add(known[need])
        order.setdefault(case.id, case)

    for case in cases:
        add(case)
    return list(order.values())


def ranked(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Rank the likely causes, now that it is known what else has failed."""
    failed = {result.case.id for result in results if result.verdict in BAD}
    return tuple(
        replace(each, causes=likely(each.case.id, each.pattern, failed)) if each.verdict == "FAIL" else each
        for each in results
    )
