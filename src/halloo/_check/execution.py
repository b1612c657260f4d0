"""Run one case against a new process, or an address, within limits, and find out what a failing server does.

Uses programs, threads and the clock.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from halloo._check.case import ANY_BYTES, MESSAGE_CASES, AnyCase, Failed, Outcome
from halloo._check.client.loop import Script, ScriptLoop
from halloo._check.client.program import ClientProgram
from halloo._check.client.target import ClientTarget
from halloo._check.processes import NOT_STARTED, ProcessTree, proportional_memory, resident_memory
from halloo._check.program_errors import last_error, own_words
from halloo._check.results import INTERRUPTION, LOCAL_LIMIT, Result
from halloo._check.server.probe import Facts, probe
from halloo._check.server.program import Program
from halloo._check.server.target import ServerTarget
from halloo._check.sockets import bind_port
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec
from halloo.errors import LocalError

MAX_MEMORY = 2 << 30  # bytes, of all processes of the program
MAX_PROCESSES = 4096
POLL_INTERVAL = 0.1  # seconds between two checks of the limits
PROBE_TIMEOUT = 60.0  # seconds for all probes of a server
LONGEST = 5  # times the limit of a case: how long a server that makes progress may take
EXIT_DELAY = 0.3  # seconds that a failing server may take to exit after its connections are closed
CONNECTION_ENDED = ("refused", "reset", "cut", "silent")  # patterns that the exit of a server explains
COMPARING_CASES = ("C09", "C10")  # MUST for a client that claims to compare, INFO otherwise


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

    with closing(program) if program else nullcontext(), supervised(program, case.kill, options):
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

    with closing(program) if program else nullcontext(), supervised(program, PROBE_TIMEOUT, options):
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
def supervised(program: Program | None, seconds: float, options: RunOptions) -> Iterator[None]:
    """Kill a program that exceeds its time, memory or number of processes.

    Its time is that without progress, on any connection; the time of its starts does not count.
    """
    if program is None:
        yield
        return
    finished = threading.Event()

    def watch() -> None:
        idle = used = 0.0
        last, progress = options.clock(), program.progress
        while not finished.wait(POLL_INTERVAL):
            now = options.clock()
            step, last = 0.0 if program.starting else now - last, now
            idle, used = step if program.progress != progress else idle + step, used + step
            progress = program.progress
            if options.stopped.is_set():
                program.expire(INTERRUPTION)
            if idle > seconds:
                program.expire(f"not done within {seconds:g} s")
            if used > LONGEST * seconds:
                program.expire(f"not done within {LONGEST * seconds:g} s")
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
