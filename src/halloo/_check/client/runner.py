"""Ask a client one case: of a fresh process, within its time and means, by a server of our own.

Knows the loop and the target. What is not the client's fault is an ERROR, never a FAIL.
"""

import traceback
from dataclasses import replace

from halloo._check.case import Case, Failed, Outcome, Skipped, Verdict, Warned
from halloo._check.client.case import function_of
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.server import take
from halloo._check.client.target import ClientTarget
from halloo._check.results import Result
from halloo._check.runner import POLL_INTERVAL, RunOptions
from halloo._check.spec import ClientSpec

VERIFIED = ("C09", "C10")  # MUST of a client that claims to compare
_VERDICTS: dict[type[Outcome], Verdict] = {Failed: "FAIL", Warned: "WARN", Skipped: "SKIP"}


def ask_client(case: Case, subject: ClientSpec, trial: RunOptions) -> Result:
    """Ask one case of a client that is started for it. Raises AddressInUse when the fixed port is not to be had."""
    if subject.verifying and case.id in VERIFIED:
        case = replace(case, severity="MUST")
    sockets = take(subject.scheme, subject.port)
    began, loop = trial.clock(), ScriptLoop(case.kill, trial.clock)
    target = ClientTarget(subject, loop, sockets, trial.seed, longer=trial.longer)
    try:
        loop.play(_watch(target, trial.memory))
        return replace(_asked(case, target), seconds=trial.clock() - began)
    finally:
        target.close()


def _asked(case: Case, target: ClientTarget) -> Result:
    try:
        note = function_of(case)(target)
    except Failed as failure:
        return Result(case, "FAIL", str(failure), evidence=failure.evidence, pattern=failure.pattern)
    except Outcome as outcome:
        return Result(case, _VERDICTS[type(outcome)], str(outcome))
    except Exception:  # noqa: BLE001 - a fault of ours must not pass for one of the client
        return Result(case, "ERROR", traceback.format_exc())
    return Result(case, "INFO" if case.severity == "INFO" else "PASS", note or "")


def _watch(target: ClientTarget, most: int) -> Script:
    """Fail a client that takes too much memory."""
    while True:
        yield POLL_INTERVAL
        if target.started and target.started.resident() > most:
            raise Failed(f"more than {most / (1 << 30):g} GiB of memory were used", pattern="memory")
