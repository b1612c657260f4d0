"""Ask a server one question after another: each of a fresh process, within its time, and only when it makes sense.

Knows programs, threads and the clock.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.conformance.cases import Case, Failed, Outcome, Severity, Skipped, Warned
from tests.conformance.target import Program, Target

Verdict = Literal["PASS", "FAIL", "WARN", "INFO", "BLOCKED", "SKIP", "ERROR"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case."""

    case: Case
    verdict: Verdict
    text: str
    seconds: float

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self.case.severity


def run(
    case: Case,
    command: Sequence[str],
    *,
    seed: int,
    longer: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Start the command, with {port} in it, ask it one case, and end all of it."""
    program, began = Program(command, clock), clock()
    watchdog = threading.Timer(case.kill, program.expire)
    try:
        program.start()
        watchdog.start()
        target = Target.of(program, clock=clock, seed=seed, longer=longer)
        verdict, text = _asked(case, target)
        if program.overdue:
            verdict, text = "FAIL", f"not done within {case.kill:g} s; then: {text}"
    except Failed as failure:
        verdict, text = "FAIL", str(failure)
    finally:
        watchdog.cancel()
        program.kill()
    return Result(case, verdict, text, clock() - began)


def _asked(case: Case, target: Target) -> tuple[Verdict, str]:
    try:
        note = case.run(target)
        target.program.check_alive()
    except Outcome as outcome:
        return _VERDICTS[type(outcome)], str(outcome)
    except Exception:  # noqa: BLE001 - a fault of ours must not pass for one of the server
        return "ERROR", traceback.format_exc()
    return ("INFO" if case.severity == "INFO" else "PASS"), note or ""


_VERDICTS: dict[type[Outcome], Verdict] = {Failed: "FAIL", Warned: "WARN", Skipped: "SKIP"}


def run_all(cases: Iterable[Case], command: Sequence[str], *, seed: int) -> Iterator[Result]:
    """Ask one case after another; those that need one that failed are BLOCKED."""
    failed: set[str] = set()
    for case in cases:
        missing = failed.intersection(case.needs)
        result = Result(case, "BLOCKED", f"needs {min(missing)}", 0.0) if missing else run(case, command, seed=seed)
        if result.verdict in ("FAIL", "ERROR", "BLOCKED"):
            failed.add(case.id)
        yield result
