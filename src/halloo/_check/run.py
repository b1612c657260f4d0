"""Check an echo server or client: run the selected cases, and write the reports.

Uses the catalogue and the runner. `halloo._check.report` formats the reports; this module decides where they go.
"""

import glob
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from halloo._check.case import MAX_LEVEL, Case
from halloo._check.catalogue import cases, choose
from halloo._check.client.runner import ask_client
from halloo._check.grading import Weights, read_weights
from halloo._check.report.exports import gradescope, junit, marks
from halloo._check.report.finding import Hints
from halloo._check.report.html import check_html
from halloo._check.report.json import check_json, read_reports
from halloo._check.report.markdown import check_markdown
from halloo._check.report.summary import summary
from halloo._check.report.text import check_text, print_text, progress
from halloo._check.results import CheckReport, Result
from halloo._check.runner import RunCase, RunOptions, run_all, run_case, with_causes
from halloo._check.server.program import NOT_STARTED, with_detected_port
from halloo._check.spec import ClientSpec, ServerSpec, Stdin, parse_transform
from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.hosts import is_near
from halloo._net.connector import CONNECT_TIMEOUT, resolve
from halloo._net.readiness import deadline_ns, run_steps
from halloo._output.files import STDOUT, appender, check_writable, read_text, write_file
from halloo._output.terminal import folded, width_of
from halloo.errors import LocalError, UsageError

MAX_WEIGHTS = 1_000_000  # characters of a file of weights
DEFAULT_LEVEL = 3  # most servers are for many clients at once
CheckSpec = ServerSpec | ClientSpec


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which cases are run, and how."""

    only: tuple[str, ...] = ()
    level: int = DEFAULT_LEVEL
    quick: bool = False
    strict: bool = False
    longer: bool = False
    seed: int = 1
    jobs: int = 1

    def __post_init__(self) -> None:
        """Check the numbers. Raises UsageError."""
        arguments.whole("seed", self.seed, 0)
        arguments.whole("jobs", self.jobs, 1)

    def cases(self, spec: CheckSpec) -> tuple[Case, ...]:
        """Select the cases for a server or client. Raises UsageError if there are none."""
        client = isinstance(spec, ClientSpec)
        kind = "C" if client else "U" if spec.scheme == "udp" else "T"
        known = [case for case in cases() if case.id[0] == kind]
        return choose(known, only=self.only, level=self.level, quick=self.quick, scheme=spec.scheme)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where the report goes besides the terminal: file names, or - for standard output."""

    hints: Hints = "fix"
    json: str | None = None
    junit: str | None = None
    html: str | None = None
    markdown: str | None = None
    gradescope: str | None = None
    csv: str | None = None
    grade: str | None = None

    @property
    def weights(self) -> Weights | None:
        """The weights of the cases. Raises UsageError, LocalError."""
        if self.grade is None:
            return None
        try:
            with Path(self.grade).open(encoding="utf-8") as file:
                text = file.read(MAX_WEIGHTS)  # a device may be endless
            return read_weights(text, known=cases())
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "not text in UTF-8"
            raise LocalError(f"{self.grade}: {reason}", "name a TOML file of weights") from error

    @property
    def paths(self) -> list[str]:
        """The files that are written."""
        paths = (self.json, self.junit, self.html, self.markdown, self.gradescope, self.csv)
        return [path for path in paths if path]

    @property
    def streams(self) -> bool:
        """Whether a report goes to standard output, so that the text has to go to standard error."""
        return STDOUT in self.paths

    def validate(self) -> None:
        """Check the weights and the files before any case is run. Raises UsageError, LocalError."""
        _ = self.weights
        for path in self.paths:
            check_writable(path)

    def write(self, reports: Sequence[CheckReport], *, json: bool = True) -> None:
        weights, hints = self.weights, self.hints
        texts: tuple[tuple[str | None, Callable[[], str]], ...] = (
            (self.json if json else None, lambda: "\n".join(check_json(each, hints=hints) for each in reports)),
            (self.junit, lambda: junit(reports, hints=hints, weights=weights)),
            (self.html, lambda: check_html(reports, hints=hints, weights=weights)),
            (self.markdown, lambda: check_markdown(reports, hints=hints)),
            (self.gradescope, lambda: gradescope(reports, hints=hints, weights=weights)),
            (self.csv, lambda: marks(reports, weights=weights)),
        )
        for path, text in texts:
            if path:
                content = text().rstrip("\n")
                with suppress(BrokenPipeError):  # the reader of this one has left
                    write_file(path, f"{content}\n")


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
    return ServerSpec(
        scheme=address.scheme if address else scheme,
        command=tuple(command),
        address=address,
        port=port,
        expect=parse_transform(expect),
        greeting=greeting,
    )


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
    if not port and not spec.takes_port:
        raise UsageError("the command has no placeholder for the port", "write PORT in its place, or give port=")
    return spec


def check(
    spec: CheckSpec,
    choice: Choice,
    *,
    on_result: Callable[[Result], object] = repr,
    selected: Sequence[Case] | None = None,
    name: str = "",
) -> CheckReport:
    """Run the chosen cases, or those in `selected`, and call `on_result` with each result.

    `name` is the target's name in the report, by default its command. Raises UsageError if there are no cases to run,
    UnknownHost, TimedOut if the address cannot be resolved.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    cases_to_run = choice.cases(spec) if selected is None else selected
    client = isinstance(spec, ClientSpec)
    if not isinstance(spec, ClientSpec):
        if spec.address and spec.address.path is None:  # else each case would wait for the name, and fail
            run_steps(resolve(spec.address, None, deadline_ns(CONNECT_TIMEOUT)))
        spec = with_detected_port(spec)
    jobs = 1 if spec.port or not spec.command else choice.jobs
    options = RunOptions(seed=choice.seed, longer=choice.longer)
    run_one = _case_runner(spec, options)
    results, interrupted = _run_until_interrupted(cases_to_run, run_one, jobs, on_result, options.stopped)
    ever_started = any(each.pattern != NOT_STARTED and each.verdict != "BLOCKED" for each in results)
    kind, seed = "client" if client else "server", choice.seed
    return CheckReport(
        target=name or spec.name,
        kind=kind,
        scheme=spec.scheme,
        seed=seed,
        level=MAX_LEVEL if choice.only else choice.level,
        strict=choice.strict,
        seconds=time.monotonic() - began,
        results=tuple(
            replace(each, repeat=f"halloo check {kind} --only {each.case.id} --seed {seed} -- {spec.name}")
            for each in results
        ),
        started=started.isoformat(timespec="seconds"),
        trouble="" if ever_started or not results else results[0].text,
        supplied={"only": list(choice.only)} if choice.only else {},
        interrupted=interrupted,
    )


def _run_until_interrupted(
    cases: Sequence[Case],
    run_one: RunCase,
    jobs: int,
    on_result: Callable[[Result], object],
    stopped: threading.Event,
) -> tuple[tuple[Result, ...], bool]:
    """Return a result for each case, and whether a signal has ended the check.

    The check ends as well when the reader of the lines has left.
    """
    ended: dict[str, Result] = {}

    def record(result: Result) -> None:
        ended[result.case.id] = result
        on_result(result)

    try:
        return run_all(cases, run_one, jobs=jobs, on_result=record, stopped=stopped), False
    except (KeyboardInterrupt, BrokenPipeError) as error:
        rest = {case.id: Result(case, "BLOCKED", "the check was interrupted") for case in cases}
        return with_causes(tuple((rest | ended).values())), isinstance(error, KeyboardInterrupt)


def _case_runner(spec: CheckSpec, options: RunOptions) -> RunCase:
    if isinstance(spec, ClientSpec):
        return lambda case: ask_client(case, spec, options)
    return lambda case: run_case(case, spec, options)


def run(spec: CheckSpec, choice: Choice, outputs: Outputs, *, quiet: bool = False) -> CheckReport:
    """Check a server or client, show progress and results on the terminal, and write the requested files."""
    stream = sys.stderr if outputs.streams else sys.stdout
    outputs.validate()
    selected = choice.cases(spec)
    if quiet:
        report = check(spec, choice, selected=selected)
        text = folded(summary(report), width_of(stream))
    else:
        with progress(selected, stream) as display:
            report = check(spec, choice, selected=selected, on_result=display.update)
        text = check_text(report, hints=outputs.hints, width=width_of(stream))
    outputs.write([report])
    with suppress(BrokenPipeError):  # the reader has left; the exit code says the rest
        print_text(text, stream)
    return report


def run_each(
    pattern: str, spec: ServerSpec, choice: Choice, outputs: Outputs, *, resume: bool = False
) -> list[CheckReport]:
    """Check each matching folder, whose name replaces {dir} in the command, and write all reports after each.

    `resume` skips folders that the JSON file has reports of. Raises UsageError if nothing matches.
    """
    folders = sorted(folder for folder in glob.glob(pattern) if Path(folder).is_dir())  # noqa: PTH207 - as a shell does
    if not folders:
        raise UsageError(f"no folder matches {pattern!r}", "write it as the shell would: 'subs/*'")
    outputs.validate()
    done = _read_earlier(outputs.json) if resume else []
    done_before = {report.target for report in done}
    append_to = outputs.json if outputs.json != STDOUT else None
    if append_to and not resume:
        write_file(append_to, "")
    for folder in folders:
        if folder in done_before:
            continue
        words = tuple(word.replace("{dir}", folder).replace("DIR", folder) for word in spec.command)
        report = check(replace(spec, command=words), choice, name=folder)
        if report.interrupted:
            raise KeyboardInterrupt
        done.append(report)
        if append_to:
            with appender(append_to) as write:
                write(check_json(report, hints=outputs.hints, indent=None) + "\n")
        outputs.write(done, json=not append_to)
        stream = sys.stderr if outputs.streams else sys.stdout
        print(folded(f"{folder}: {summary(report)}", width_of(stream)), file=stream, flush=True)
    return done


def _read_earlier(path: str | None) -> list[CheckReport]:
    if path is None or path == STDOUT:
        raise UsageError("needs the reports of an earlier run", "name their file with json=", argument="resume")
    return list(read_reports(read_text(path), allow_truncated=True))
