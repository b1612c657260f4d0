"""Check an echo server or client: describe it, and run cases against it.

Uses the runner. The command chooses the cases, and writes the report.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from halloo._check.case import MAX_LEVEL, AnyCase
from halloo._check.processes import NOT_STARTED
from halloo._check.results import CheckReport, Result
from halloo._check.runner import OnResult, RunOptions, run_all, run_case, with_causes
from halloo._check.server.program import with_detected_port
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec, Stdin, parse_transform
from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.hosts import is_near
from halloo._net.connector import CONNECT_TIMEOUT, resolve
from halloo._net.readiness import deadline_ns, run_steps
from halloo.errors import UsageError


def server_spec(
    address: Address | None,
    command: Sequence[str],
    *,
    scheme: str = "tcp",
    port: int = 0,
    expect: str | None = None,
    greeting: bool = False,
    allowed: Sequence[str] = (),
) -> ServerSpec:
    """Describe the server to check: an address or a command. Raises UsageError for neither, or a public address."""
    arguments.whole("port", port, 0, 65535)
    if (address is None) == (not command):
        raise UsageError("name one server to check", "an address, or its command: halloo check server -- COMMAND PORT")
    host = address.host or "localhost" if address else "localhost"
    if not is_near(host) and host not in allowed:
        raise UsageError(
            f"{host} is neither a local nor a private address", "if you may test it, name it with allow_remote="
        )
    scheme, words = address.scheme if address else scheme, tuple(command)
    transform = parse_transform(expect)
    return ServerSpec(scheme=scheme, command=words, address=address, port=port, expect=transform, greeting=greeting)


def client_spec(
    command: Sequence[str],
    *,
    scheme: str = "tcp",
    port: int = 0,
    stdin: Stdin | None = None,
    message: str = "",
    verifying: bool = False,
) -> ClientSpec:
    """Describe the client to check. Raises UsageError if the command has no placeholder for the port."""
    arguments.whole("port", port, 0, 65535)
    if not command:
        raise UsageError("name a client to check", "its command: halloo check client -- COMMAND HOST PORT")
    spec = ClientSpec(
        command=tuple(command), scheme=scheme, port=port, stdin=stdin, message=message, verifying=verifying
    )
    if not port and "port" not in spec.placeholders:
        raise UsageError("the command has no placeholder for the port", "write PORT in its place, or give port=")
    return spec


def check(
    spec: CheckSpec,
    cases: Sequence[AnyCase],
    options: RunOptions,
    *,
    jobs: int = 1,
    level: int = MAX_LEVEL,
    strict: bool = False,
    only: Sequence[str] = (),
    on_result: OnResult = repr,
    name: str = "",
) -> CheckReport:
    """Run cases, and call `on_result` with each result; `level`, `strict` and `only` say how they were chosen.

    `name` is the target's name in the report, by default its command. Raises UnknownHost, TimedOut if the address
    cannot be resolved.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    if isinstance(spec, ServerSpec):
        if spec.address and spec.address.path is None:  # else each case would wait for the name, and fail
            run_steps(resolve(spec.address, None, deadline_ns(CONNECT_TIMEOUT)))
        spec = with_detected_port(spec)
    kind = "server" if isinstance(spec, ServerSpec) else "client"
    jobs = 1 if spec.port or not spec.command else jobs
    results, interrupted = _run_until_interrupted(cases, spec, options, jobs, on_result)
    ever_started = any(each.pattern != NOT_STARTED and each.verdict != "BLOCKED" for each in results)
    seed = options.seed
    return CheckReport(
        target=name or spec.name,
        kind=kind,
        scheme=spec.scheme,
        seed=seed,
        level=MAX_LEVEL if only else level,
        strict=strict,
        seconds=time.monotonic() - began,
        results=tuple(
            replace(each, repeat=f"halloo check {kind} --only {each.case.id} --seed {seed} -- {spec.name}")
            for each in results
        ),
        started=started.isoformat(timespec="seconds"),
        trouble="" if ever_started or not results else results[0].text,
        supplied={"only": list(only)} if only else {},
        interrupted=interrupted,
    )


def _run_until_interrupted(
    cases: Sequence[AnyCase], spec: CheckSpec, options: RunOptions, jobs: int, on_result: OnResult
) -> tuple[tuple[Result, ...], bool]:
    """Return a result for each case, and whether a signal has ended the check.

    The check ends as well when the reader of the lines has left.
    """
    ended: dict[str, Result] = {}

    def run_one(case: AnyCase) -> Result:
        return run_case(case, spec, options)

    def record(result: Result) -> None:
        ended[result.case.id] = result
        on_result(result)

    try:
        return run_all(cases, run_one, jobs=jobs, on_result=record, stopped=options.stopped), False
    except (KeyboardInterrupt, BrokenPipeError) as error:
        rest = {case.id: Result(case, "BLOCKED", "the check was interrupted") for case in cases}
        return with_causes(tuple((rest | ended).values())), isinstance(error, KeyboardInterrupt)
