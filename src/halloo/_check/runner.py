"""Check a program: run cases, each against a new process, within limits, and only if the required cases passed.

Uses programs, threads and the clock. The command chooses the cases, and writes the report.
"""

import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from halloo._check.case import ANY_BYTES, MAX_LEVEL, MESSAGE_CASES, AnyCase, Failed, Outcome
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.program import ClientProgram
from halloo._check.client.target import ClientTarget
from halloo._check.diagnoses import Seen, diagnose
from halloo._check.language import language_of
from halloo._check.processes import NOT_STARTED, ProcessTree, proportional_memory, resident_memory
from halloo._check.program_errors import MISTAKES, last_error, own_words
from halloo._check.repeat import repeat_command
from halloo._check.results import LOCAL_LIMIT, NOT_PASSED, CheckReport, Result
from halloo._check.server.probe import Facts, probe
from halloo._check.server.program import Program, with_detected_port
from halloo._check.server.reach import reached
from halloo._check.server.target import ServerTarget
from halloo._check.sockets import bind_port
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec
from halloo.errors import HallooError, LocalError

MAX_MEMORY = 2 << 30  # bytes, of all processes of the program
MAX_PROCESSES = 4096
POLL_INTERVAL = 0.1  # seconds between two checks of the limits
PROBE_TIMEOUT = 60.0  # seconds for all probes of a server
EXIT_DELAY = 0.3  # seconds that a failing server may take to exit after its connections are closed
UNCONNECTED, ENDED = "unconnected", "ended"  # patterns of a client that does not connect, of a server that has exited
CONNECTION_ENDED = ("refused", "reset", "cut", "silent")  # patterns that the exit of a server explains
COMPARING_CASES = ("C09", "C10")  # MUST for a client that claims to compare, INFO otherwise

INTERRUPTION = "the check was interrupted"  # why the remaining cases were not run

OnResult = Callable[[Result], object]
OnReport = Callable[[CheckReport], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The conditions under which cases are run."""

    seed: int = 1
    longer: bool = False
    jobs: int = 1
    clock: Callable[[], float] = time.monotonic
    memory: int = MAX_MEMORY
    processes: int = MAX_PROCESSES
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set once the check is interrupted: the programs of the cases under way are killed."""


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


def _run_until_interrupted(
    spec: CheckSpec, cases: Sequence[AnyCase], options: RunOptions, on_result: OnResult
) -> tuple[tuple[Result, ...], bool]:
    """Run cases; return the results, and whether a signal ended that: the cases that had not ended are BLOCKED."""
    ended: dict[str, Result] = {}

    def run_one(case: AnyCase) -> Result:
        result = run_case(case, spec, options)
        if all(each.verdict == "SKIP" for each in [*ended.values()]):
            _raise_if_troubled(result, spec)
        return result

    def record(result: Result) -> None:
        ended[result.case.id] = result
        on_result(result)

    jobs = 1 if spec.port or not spec.command else options.jobs
    try:
        return run_all(cases, run_one, jobs=jobs, on_result=record, stopped=options.stopped), False
    except (KeyboardInterrupt, BrokenPipeError) as error:  # or the reader of the lines has left
        rest = {case.id: Result(case, "BLOCKED", "the check was interrupted") for case in cases}
        return with_causes(tuple((rest | ended).values())), isinstance(error, KeyboardInterrupt)


class _Troubled(Exception):  # noqa: N818 - a finding, not an error of the checker
    """No case can be run against the target; the text says why."""


def _prepared(spec: CheckSpec, options: RunOptions) -> CheckSpec:
    """Find out what all cases have to know: which address answers, or which port. Raises UnknownHost, TimedOut."""
    if isinstance(spec, ClientSpec):
        return spec
    try:
        if spec.address:
            return replace(spec, reached=reached(spec.address))
        return with_detected_port(spec, partial(_supervised, seconds=math.inf, options=options))
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


def run_case(case: AnyCase, spec: CheckSpec, options: RunOptions) -> Result:
    """Run one case against a program started for it, or against an address.

    Raises AddressInUse when the fixed port for a client is taken.
    """
    if isinstance(spec, ClientSpec):
        return _run_client(case, spec, options)
    if case.command_only and not spec.command:
        return Result(case, "SKIP", case.command_only)
    if spec.messages and case.id not in MESSAGE_CASES:
        return Result(case, "SKIP", ANY_BYTES)
    return _run_server(case, spec, options)


def _run_server(case: AnyCase, spec: ServerSpec, options: RunOptions) -> Result:
    began = options.clock()
    program = Program(spec, options.clock) if spec.command else None

    def act() -> str | None:
        try:
            if program:
                program.start()
            target = ServerTarget.of(spec, program, options.clock, options.seed, longer=options.longer)
            return target.with_loss(case.run(target))
        except Failed as failure:
            raise _explained(failure, program) if program else failure from failure

    with closing(program) if program else nullcontext(), _supervised(program, case.kill, options):
        result = _result_of(case, act)
    if program and program.expired and result.verdict != "ERROR":
        # What the case saw since then is what halloo did, and not the program.
        pattern = NOT_STARTED if NOT_STARTED in result.pattern.split() else "overdue"
        result = replace(result, verdict="FAIL", text=program.expired, pattern=pattern, evidence=None)
    return replace(result, seconds=options.clock() - began)


def probe_server(spec: ServerSpec, options: RunOptions) -> Facts:
    """Find out what a server does that has failed a case of level 1; it is started anew for each probe.

    One with a fixed port is started once, unless it exits: the port might be in use for a minute after each.
    """
    program = Program(spec, options.clock) if spec.command else None

    def fresh() -> ServerTarget:
        if program and not (spec.port and program.started and program.listening_pids()):
            program.kill()
            program.start()
        return ServerTarget.of(spec, program, options.clock, options.seed)

    with closing(program) if program else nullcontext(), _supervised(program, PROBE_TIMEOUT, options):
        return probe(fresh)


def _run_client(case: AnyCase, spec: ClientSpec, options: RunOptions) -> Result:
    if spec.verifying and case.id in COMPARING_CASES:
        case = replace(case, severity="MUST")
    sockets = bind_port(spec.scheme, spec.port)
    began, loop = options.clock(), ScriptLoop(case.kill, options.clock)
    with closing(ClientTarget(spec, loop, sockets, options.seed)) as target:
        loop.start(_limit(target, options))
        result = _result_of(case, lambda: case.run(target))
        if result.verdict == "FAIL" and target.launched:
            result = _with_words_of_client(result, target.launched)
        return replace(result, seconds=options.clock() - began)


def _with_words_of_client(result: Result, client: ClientProgram) -> Result:
    """Add what a client has printed: an error, or the end of its output."""
    output = bytes(client.out + client.err).decode(errors="replace")
    error = last_error(output)
    pattern = f"{result.pattern} {error.name}".strip() if error else result.pattern
    return replace(result, words=own_words(output), pattern=pattern)


def _result_of(case: AnyCase, act: Callable[[], str | None]) -> Result:
    try:
        note = act()
    except Outcome as outcome:
        return Result(
            case,
            outcome.verdict,
            outcome.lines,
            evidence=outcome.evidence,
            pattern=outcome.pattern,
            words=outcome.words,
        )
    except LocalError as error:
        return Result(case, "ERROR", f"{type(error).__name__}: {error}", pattern=LOCAL_LIMIT)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a fault of the checker, or of a user's function, is none of the program
        return Result(case, "ERROR", traceback.format_exc())
    return Result(case, "INFO" if case.severity == "INFO" else "PASS", note or "")


def _explained(failure: Failed, program: Program) -> Failed:
    """Add that the server has exited, if that is why its clients failed, or the error that it has printed."""
    if failure.seen & {*CONNECTION_ENDED, "unserved"}:
        try:
            # A server that waits for its client exits when that closes, which is not why another got no reply.
            program.check_alive(EXIT_DELAY, orderly_too="silent" not in failure.seen)
        except Failed as ended:
            others = [word for word in failure.pattern.split() if word not in CONNECTION_ENDED]
            return failure.in_context(str(ended), pattern=" ".join((ended.pattern, *others)), words=ended.words)
    if not failure.words and (error := program.error()):  # of a thread, perhaps
        pattern = f"{failure.pattern} {error.name}".strip()
        return Failed(str(failure), pattern=pattern, evidence=failure.evidence, words=program.words())
    return failure


def _limit(target: ClientTarget, options: RunOptions) -> Script:
    """Fail a client that uses too much memory, or too many processes."""
    while True:
        yield POLL_INTERVAL
        if target.launched and (why := _exceeded_limit([target.launched.tree], options)):
            raise Failed(why, pattern="memory")


@contextmanager
def _supervised(program: Program | None, seconds: float, options: RunOptions) -> Iterator[None]:
    """Kill a program that exceeds its time, memory or number of processes; the time of its starts does not count."""
    if program is None:
        yield
        return
    finished = threading.Event()

    def watch() -> None:
        used, last = 0.0, options.clock()
        while not finished.wait(POLL_INTERVAL):
            now = options.clock()
            used, last = used + (0 if program.starting else now - last), now
            if options.stopped.is_set():
                program.expire(INTERRUPTION)
            if used > seconds:
                program.expire(f"not done within {seconds:g} s")
            if why := _exceeded_limit(program.trees, options):
                program.expire(why)

    thread = threading.Thread(target=watch, name="halloo watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _exceeded_limit(trees: Sequence[ProcessTree], options: RunOptions) -> str:
    if sum(len(tree.running()) for tree in trees) > options.processes:
        return f"more than {options.processes:,} processes were started"
    for measure in (resident_memory, proportional_memory):  # the latter is exact, and slow
        if sum(tree.total(measure) for tree in trees) <= options.memory:
            return ""
    return f"more than {options.memory >> 20:,} MiB of memory were used"


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


def with_causes(results: tuple[Result, ...], facts: Collection[str] = ()) -> tuple[Result, ...]:
    """Add the cause to each failed result that has one; finding it takes all results and the facts of the probe."""
    seen = {each.case.id: Seen(each.verdict, frozenset(each.pattern.split())) for each in results}
    causes = diagnose(seen, facts)
    return tuple(replace(each, causes=tuple(filter(None, [causes.get(each.case.id)]))) for each in results)
