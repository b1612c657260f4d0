"""Check a program: find out how it is reached, run its cases, and report their results with the causes of failures.

Uses programs and the clock. The command chooses the cases, and writes the report.
"""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from halloo._check.case import MAX_LEVEL, AnyCase, Failed
from halloo._check.diagnoses import Seen, diagnose
from halloo._check.execution import RunOptions, probe_server, run_case, supervised
from halloo._check.language import language_of
from halloo._check.processes import NOT_STARTED
from halloo._check.program_errors import MISTAKES
from halloo._check.repeat import repeat_command
from halloo._check.results import INTERRUPTION, CheckReport, Result
from halloo._check.scheduling import OnResult, run_all
from halloo._check.server.probe import Facts
from halloo._check.server.program import with_detected_port
from halloo._check.server.reach import reached
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec
from halloo.errors import HallooError

UNCONNECTED, ENDED = "unconnected", "ended"  # patterns of a client that does not connect, of a server that has exited

OnReport = Callable[[CheckReport], object]


def check(
    spec: CheckSpec,
    cases: Sequence[AnyCase],
    options: RunOptions,
    *,
    level: int = MAX_LEVEL,
    strict: bool = False,
    only: Sequence[str] = (),
    on_result: OnResult = repr,
    on_report: OnReport | None = None,
    name: str = "",
) -> CheckReport:
    """Run cases, and call `on_result` with each result; `level`, `strict` and `only` say how they were chosen.

    `on_report` is called before it, with the report as it would be if the check were interrupted then. Whatever ends
    the check early, the report has the results until then, and in `error` what is to be raised once it is written.
    `name` is the target's name in the report, by default its command. Raises what goes wrong before a case has ended,
    such as UnknownHost for the address.
    """
    run = _Run(spec, cases, options, level=level, strict=strict, only=only, name=name)

    def record(result: Result) -> None:
        run.ended[result.case.id] = result
        if on_report:
            on_report(run.report(INTERRUPTION, interrupted=True))
        on_result(result)

    try:
        ready = _prepared(spec, options)  # an interrupt before the first case leaves no report
    except _Troubled as error:
        return run.report("no case could be run", trouble=str(error))

    def run_one(case: AnyCase) -> Result:
        result = run_case(case, ready, options)
        run.learn(result, ready)
        return result

    jobs = 1 if ready.port or not ready.command else options.jobs
    try:
        run_all(cases, run_one, jobs=jobs, on_result=record, stopped=options.stopped)
        return run.report()
    except _Troubled as error:
        return run.report("no case could be run", trouble=str(error))
    except KeyboardInterrupt:
        return run.report(INTERRUPTION, interrupted=True)
    except BrokenPipeError:  # the reader of the lines has left
        return run.report(INTERRUPTION)
    except BaseException as error:  # of halloo, of the machine, or of a function that the user has named
        if isinstance(error, HallooError) and not run.ended:
            raise
        return run.report(f"the check ended early: {type(error).__name__}: {error}", error=error)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A check under way: the results of the cases that have ended, and the report if it ended now."""

    spec: CheckSpec = field(kw_only=False)
    cases: Sequence[AnyCase] = field(kw_only=False)
    options: RunOptions = field(kw_only=False)
    level: int
    strict: bool
    only: Sequence[str]
    name: str
    began: float = field(default_factory=time.monotonic)
    started: datetime = field(default_factory=partial(datetime.now, UTC))
    ended: dict[str, Result] = field(default_factory=dict)
    facts: Facts | None = None

    def learn(self, result: Result, ready: CheckSpec) -> None:
        """Stop the check if a result shows that no case can be run; probe a server at its first failure of level 1."""
        if all(each.verdict == "SKIP" for each in [*self.ended.values()]):
            _raise_if_troubled(result, ready)
        fails = result.verdict == "FAIL" and result.case.level == 1
        if fails and isinstance(ready, ServerSpec) and not (self.facts or ready.messages):
            self.facts = probe_server(ready, self.options)
            if self.facts.kind:
                raise _Troubled(self.facts.kind)

    def report(
        self, not_run: str = "", *, trouble: str = "", interrupted: bool = False, error: BaseException | None = None
    ) -> CheckReport:
        """Report what has ended; `not_run` says why the other cases were not run, or with `trouble` all cases."""
        seed, longer = self.options.seed, self.options.longer
        found = {case.id: Result(case, "BLOCKED", not_run) for case in self.cases} | ({} if trouble else self.ended)
        facts = self.facts.names if self.facts else set()
        results = tuple(found.values()) if error else with_causes(tuple(found.values()), facts)  # which may be at fault
        repeat = partial(repeat_command, self.spec, seed=seed, longer=longer, strict=self.strict)
        return CheckReport(
            target=self.name or self.spec.name,
            kind="server" if isinstance(self.spec, ServerSpec) else "client",
            scheme=self.spec.scheme,
            seed=seed,
            level=MAX_LEVEL if self.only else self.level,
            strict=self.strict,
            seconds=time.monotonic() - self.began,
            results=tuple(replace(each, repeat=repeat(each.case.id)) for each in results),
            started=self.started.isoformat(timespec="seconds"),
            trouble=trouble,
            facts=tuple(sorted(facts)),
            supplied={"only": list(self.only)} if self.only else {},
            language=language_of(self.spec.command),
            interrupted=interrupted,
            error=error,
        )


class _Troubled(Exception):  # noqa: N818 - a finding, not an error of the checker
    """No case can be run against the target; the text says why."""


def _prepared(spec: CheckSpec, options: RunOptions) -> CheckSpec:
    """Find out what all cases have to know: which address answers, or which port. Raises UnknownHost, TimedOut."""
    if isinstance(spec, ClientSpec):
        return spec
    try:
        if spec.address:
            return replace(spec, reached=reached(spec.address))
        return with_detected_port(spec, partial(supervised, seconds=math.inf, options=options))
    except Failed as failure:
        raise _Troubled(failure.lines) from failure


def _raise_if_troubled(result: Result, spec: CheckSpec) -> None:
    """Stop if the first case has shown that no case can be run, or that the program ends by a mistake of its own."""
    seen = result.pattern.split()
    server = isinstance(spec, ServerSpec)
    if NOT_STARTED in seen:
        raise _Troubled(result.text)
    if "refused" in seen and isinstance(spec, ServerSpec) and spec.address:
        raise _Troubled(f"{result.text}; start the server, then check it")
    printed = f"\n{result.words}" if result.words else "; it printed nothing"
    if UNCONNECTED in seen and not server:
        raise _Troubled(f"the client does not connect{printed}")
    if result.verdict == "FAIL" and (mistakes := MISTAKES.intersection(seen)):
        who, whom = ("server", "client") if server else ("client", "message")
        verb = "ends" if ENDED in seen or not server else "fails"
        raise _Troubled(f"the {who} {verb} with {min(mistakes)} at its first {whom}{printed}")


def with_causes(results: tuple[Result, ...], facts: Collection[str] = ()) -> tuple[Result, ...]:
    """Add the cause to each failed result that has one; finding it takes all results and the facts of the probe."""
    seen = {each.case.id: Seen(each.verdict, frozenset(each.pattern.split())) for each in results}
    causes = diagnose(seen, facts)
    return tuple(replace(each, causes=tuple(filter(None, [causes.get(each.case.id)]))) for each in results)
