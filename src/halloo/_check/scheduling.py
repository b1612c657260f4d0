"""Run cases in the order of what they need, some at once; those that measure time alone.

Uses threads. What running a case means is the caller's.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from halloo._check.case import AnyCase
from halloo._check.results import NOT_PASSED, Result

OnResult = Callable[[Result], object]


def run_all(
    cases: Sequence[AnyCase],
    run_one: Callable[[AnyCase], Result],
    *,
    jobs: int = 1,
    on_result: OnResult = repr,
    stopped: threading.Event | None = None,
) -> tuple[Result, ...]:
    """Run cases, up to `jobs` at once, timing cases alone; a case is BLOCKED if one that it needs failed.

    `stopped` is set if an exception ends the run; cases that end later have no result.
    """
    _handle_interrupts()
    stopped = stopped or threading.Event()
    order = _in_dependency_order(cases)
    results: dict[str, Result] = {}
    lock = threading.Lock()  # `on_result` need not be thread-safe

    def record(case: AnyCase) -> Result:
        missing = [need for need in case.needs.split() if need in results and results[need].verdict in NOT_PASSED]
        result = Result(case, "BLOCKED", f"needs {missing[0]}") if missing else run_one(case)
        results[case.id] = result
        with lock:
            if not stopped.is_set():
                on_result(result)
        return result

    alone = [case for case in order if case.alone or jobs == 1]
    _run_concurrently([case for case in order if case not in alone], record, jobs, stopped)
    for case in alone:
        record(case)
    return tuple(results[case.id] for case in cases)


def _handle_interrupts() -> None:
    """Make programs started from now on end at Ctrl-C, even if this process ignores it.

    A shell makes background jobs ignore SIGINT. A program inherits an ignored signal, but not a handler (exec(2)).
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda _number, _frame: None)


def _run_concurrently(
    cases: Sequence[AnyCase], run_one: Callable[[AnyCase], Result], jobs: int, stopped: threading.Event
) -> None:
    futures: dict[str, Future[Result]] = {}

    def run(case: AnyCase, needed: Sequence[Future[Result]]) -> Result:
        for future in needed:
            future.result()
        return run_one(case)

    with ThreadPoolExecutor(jobs, thread_name_prefix="halloo check") as pool:
        for case in cases:  # required cases come first, so no thread waits for a case that has not started
            needed = [futures[need] for need in case.needs.split() if need in futures]
            futures[case.id] = pool.submit(run, case, needed)
        try:
            for future in futures.values():
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)  # only the cases under way are waited for
            raise


def _in_dependency_order(cases: Sequence[AnyCase]) -> list[AnyCase]:
    known, order = {case.id: case for case in cases}, dict[str, AnyCase]()

    def add(case: AnyCase) -> None:
        for need in case.needs.split():
            if need in known and need not in order:
                add(known[need])
        order.setdefault(case.id, case)

    for case in cases:
        add(case)
    return list(order.values())
