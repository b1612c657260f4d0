"""Run one case against a client: a fresh process, limits on time and memory, and an instrumented server.

An error of the checker itself is an ERROR, never a FAIL.
"""

import traceback
from dataclasses import replace

from halloo._check.case import Case, Failed, Outcome, Skipped, Verdict, Warned
from halloo._check.client.case import function_of
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.server import bind_port
from halloo._check.client.target import ClientTarget
from halloo._check.results import Result
from halloo._check.runner import POLL_INTERVAL, RunOptions
from halloo._check.spec import ClientSpec

COMPARING_CASES = ("C09", "C10")  # MUST with --verifying, INFO otherwise
_VERDICTS: dict[type[Outcome], Verdict] = {Failed: "FAIL", Warned: "WARN", Skipped: "SKIP"}


def ask_client(case: Case, subject: ClientSpec, trial: RunOptions) -> Result:
    """Run one case against a client. Raises AddressInUse when the fixed port is taken."""
    if subject.verifying and case.id in COMPARING_CASES:
        case = replace(case, severity="MUST")
    sockets = bind_port(subject.scheme, subject.port)
    started, loop = trial.clock(), ScriptLoop(case.kill, trial.clock)
    target = ClientTarget(subject, loop, sockets, trial.seed, longer=trial.longer)
    try:
        loop.start(_limit_memory(target, trial.memory))
        return replace(_run_case(case, target), seconds=trial.clock() - started)
    finally:
        target.close()


def _run_case(case: Case, target: ClientTarget) -> Result:
    try:
        note = function_of(case)(target)
    except Failed as failure:
        return Result(case, "FAIL", str(failure), evidence=failure.evidence, pattern=failure.pattern)
    except Outcome as outcome:
        return Result(case, _VERDICTS[type(outcome)], str(outcome))
    except Exception:  # noqa: BLE001 - an error of the checker must not count as one of the client
        return Result(case, "ERROR", traceback.format_exc())
    return Result(case, "INFO" if case.severity == "INFO" else "PASS", note or "")


def _limit_memory(target: ClientTarget, limit: int) -> Script:
    """Fail a client that uses too much memory."""
    while True:
        yield POLL_INTERVAL
        if target.launched and target.launched.resident_memory() > limit:
            raise Failed(f"more than {limit / (1 << 30):g} GiB of memory were used", pattern="memory")
