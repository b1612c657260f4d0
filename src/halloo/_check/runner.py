"""Run cases: each against a new process, within limits of time and memory, and only if the required cases passed.

Uses programs, threads and the clock. A callback is called with each result.
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from halloo._check.case import Case, Evidence, Failed, Outcome, Skipped, Verdict, Warned
from halloo._check.diagnoses import likely_causes
from halloo._check.results import FAILING, LOCAL_LIMIT, Result
from halloo._check.server.program import NOT_STARTED, Program
from halloo._check.server.target import ServerTarget
from halloo._check.spec import ServerSpec
from halloo.errors import LocalError

MAX_MEMORY = 2 << 30  # bytes, of all processes of the program
MAX_PROCESSES = 4096
POLL_INTERVAL = 0.1  # seconds between two checks of the limits
EXIT_DELAY = 0.3  # seconds that a failing server may take to exit after its connections are closed
_VERDICTS: dict[type[Outcome], Verdict] = {Failed: "FAIL", Warned: "WARN", Skipped: "SKIP"}

RunCase = Callable[[Case], Result]
OnResult = Callable[[Result], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The conditions under which cases are run."""

    seed: int = 1
    longer: bool = False
    clock: Callable[[], float] = time.monotonic
    memory: int = MAX_MEMORY
    processes: int = MAX_PROCESSES
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set once the check is interrupted: the programs of the cases under way are killed."""


def run_case(case: Case, spec: ServerSpec, options: RunOptions) -> Result:
    """Run one case against a program started for it, or against an address."""
    if not spec.command and (case.process or case.command_only):
        why = case.command_only or "needs the server's process: give its command instead of an address"
        return Result(case, "SKIP", why)
    began = options.clock()
    program = Program(spec, options.clock) if spec.command else None
    try:
        with _supervised(program, case.kill, options):
            verdict, text, evidence, pattern = _run_function(case, spec, program, options)
    finally:
        if program:
            program.close()
    if program and program.expired and verdict != "ERROR":
        verdict, text, pattern = "FAIL", f"{program.expired}; then: {text}", "overdue"
    return Result(case, verdict, text, options.clock() - began, evidence, pattern)


def _run_function(
    case: Case, spec: ServerSpec, program: Program | None, options: RunOptions
) -> tuple[Verdict, str, Evidence | None, str]:
    try:
        if program:
            program.start()
        note = case.run(ServerTarget.of(spec, program, clock=options.clock, seed=options.seed, longer=options.longer))
    except Failed as failure:
        if program:
            failure = _with_exit_reason(failure, program)
        return "FAIL", str(failure), failure.evidence, failure.pattern
    except Outcome as outcome:
        return _VERDICTS[type(outcome)], str(outcome), None, ""
    except LocalError as error:
        return "ERROR", f"{type(error).__name__}: {error}", None, LOCAL_LIMIT
    except Exception:  # noqa: BLE001 - a fault of the checker must not count as one of the server
        return "ERROR", traceback.format_exc(), None, ""
    return ("INFO" if case.severity == "INFO" else "PASS"), note or "", None, ""


def _with_exit_reason(failure: Failed, program: Program) -> Failed:
    """Add that the server has exited, if that is why its clients failed."""
    if failure.pattern not in ("refused", "reset", "cut", "silent", "unserved"):
        return failure
    try:
        program.check_alive(EXIT_DELAY)
    except Failed as ended:
        return failure if str(ended) in str(failure) else failure.in_context(str(ended), pattern="ended")
    return failure


@contextmanager
def _supervised(program: Program | None, seconds: float, options: RunOptions) -> Iterator[None]:
    """Kill a program that exceeds its time, memory or number of processes."""
    if program is None:
        yield
        return
    finished, deadline = threading.Event(), options.clock() + seconds

    def watch() -> None:
        while not finished.wait(POLL_INTERVAL):
            if options.stopped.is_set():
                program.expire("the check was interrupted")
            if options.clock() > deadline:
                program.expire(f"not done within {seconds:g} s")
            with suppress(Failed):  # it is being restarted
                if why := _exceeded_limit(program, options):
                    program.expire(why)

    thread = threading.Thread(target=watch, name="halloo watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _exceeded_limit(program: Program, options: RunOptions) -> str:
    if not program.started:
        return ""
    if len(program.running_pids()) > options.processes:
        return f"more than {options.processes:,} processes were started"
    if program.resident_memory() > options.memory and program.proportional_memory() > options.memory:
        return f"more than {options.memory >> 20:,} MiB of memory were used"
    return ""


def run_all(
    cases: Sequence[Case],
    run_one: RunCase,
    *,
    jobs: int = 1,
    on_result: OnResult = repr,
    stopped: threading.Event | None = None,
) -> tuple[Result, ...]:
    """Run cases, up to `jobs` at once, timing cases alone; a case is BLOCKED if one that it needs failed.

    `stopped` is set if an exception ends the run; cases that end later have no result.
    """
    handle_interrupts()
    stopped = stopped or threading.Event()
    order = _in_dependency_order(cases)
    results: dict[str, Result] = {}
    lock = threading.Lock()  # `on_result` need not be thread-safe

    def record(case: Case) -> Result:
        missing = [need for need in case.needs if need in results and results[need].verdict in (*FAILING, "BLOCKED")]
        if missing:
            result = Result(case, "BLOCKED", f"needs {missing[0]}")
        elif results and all(each.pattern == NOT_STARTED or each.verdict == "BLOCKED" for each in results.values()):
            result = Result(case, "BLOCKED", "it did not start")
        else:
            result = run_one(case)
        results[case.id] = result
        with lock:
            if not stopped.is_set():
                on_result(result)
        return result

    concurrent = [case for case in order if not (jobs > 1 and case.alone)]
    if jobs == 1:
        for case in concurrent:
            record(case)
    else:
        _run_concurrently(concurrent, record, jobs, stopped)
        for case in order:
            if case.alone:
                record(case)
    return with_causes(tuple(results[case.id] for case in cases))


def handle_interrupts() -> None:
    """Make programs started from now on end at Ctrl-C, even if this process ignores it.

    A shell makes background jobs ignore SIGINT. A program inherits an ignored signal, but not a handler (exec(2)).
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda _number, _frame: None)


def _run_concurrently(cases: Sequence[Case], run_one: RunCase, jobs: int, stopped: threading.Event) -> None:
    futures: dict[str, Future[Result]] = {}

    def run(case: Case, needed: Mapping[str, Future[Result]]) -> Result:
        for future in needed.values():
            future.result()
        return run_one(case)

    with ThreadPoolExecutor(jobs, thread_name_prefix="halloo check") as pool:
        for case in cases:  # required cases come first, so no thread waits for a case that has not started
            futures[case.id] = pool.submit(run, case, {need: futures[need] for need in case.needs if need in futures})
        try:
            for future in futures.values():
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)  # only the cases under way are waited for
            raise


def _in_dependency_order(cases: Sequence[Case]) -> list[Case]:
    known, order = {case.id: case for case in cases}, dict[str, Case]()

    def add(case: Case) -> None:
        for need in case.needs:
            if need in known and need not in order:
                add(known[need])
        order.setdefault(case.id, case)

    for case in cases:
        add(case)
    return list(order.values())


def with_causes(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Add the likely causes to failed results; ranking them takes all results."""
    failed = {result.case.id for result in results if result.verdict in FAILING}
    return tuple(
        replace(each, causes=likely_causes(each.case.id, each.pattern, failed)) if each.verdict == "FAIL" else each
        for each in results
    )
