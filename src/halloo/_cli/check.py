"""The commands of `halloo check`: signatures and option groups are the options, docstrings the help.

The words after `--` are the command to check; `main` passes them on unchanged. The report goes to the terminal, and to
the requested files.
"""

import glob
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TextIO

from cyclopts import App, Parameter

from halloo._check.case import AnyCase
from halloo._check.catalogue import cases as all_cases
from halloo._check.catalogue import choose
from halloo._check.execution import RunOptions
from halloo._check.report.json import check_json, read_reports
from halloo._check.report.progress import print_text, progress
from halloo._check.report.text import check_text
from halloo._check.report.view import summary
from halloo._check.results import CheckReport, exit_code_of_all
from halloo._check.runner import OnReport
from halloo._check.runner import check as run_check
from halloo._check.scheduling import OnResult
from halloo._check.spec import START_TIMEOUT, CheckSpec, ClientSpec, ServerSpec, Stdin, parse_messages, parse_transform
from halloo._cli.check_files import Outputs
from halloo._cli.options import Quiet, Seconds, switch
from halloo._cli.program_words import refuse_program
from halloo._core import arguments
from halloo._core.address import parse
from halloo._core.arguments import shown
from halloo._output.files import STDOUT, appender, read_text, write_file
from halloo._output.terminal import folded, width_of
from halloo.errors import UsageError

CommandWords = Annotated[
    tuple[str, ...], Parameter(name="--command", show=False, allow_leading_hyphen=True, negative=())
]
Words = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
Port = Annotated[int, Parameter(show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Options that select the cases."""

    only: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="CASES")] = ()
    """Only these cases: T11, or tcp/T11, or T09,T11; or a whole kind: tcp, udp, client."""
    level: Literal[1, 2, 3, 4] = 3
    """Highest level to check: 1 echo, 2 one client after another, 3 many clients at once, 4 long-running service."""
    quick: Annotated[bool, switch("--quick")] = False
    """Quick cases only, about 10 s."""
    strict: Annotated[bool, switch("--strict")] = False
    """Treat a failed SHOULD like a failed MUST."""
    longer: Annotated[bool, switch("--long")] = False
    """Longer forms of the cases that have one."""
    seed: int = 1
    """Random seed."""
    jobs: int = 1
    """Number of cases to run in parallel."""

    def __post_init__(self) -> None:
        """Check the numbers. Raises UsageError."""
        arguments.whole("seed", self.seed, 0)
        arguments.whole("jobs", self.jobs, 1)

    def cases(self, spec: CheckSpec) -> tuple[AnyCase, ...]:
        """Select the cases for a server or client. Raises UsageError if there are none."""
        kind = "C" if isinstance(spec, ClientSpec) else "U" if spec.scheme == "udp" else "T"
        known = [case for case in all_cases() if case.id[0] == kind]
        return choose(known, only=self.only, level=self.level, quick=self.quick, scheme=spec.scheme)

    def check(
        self, spec: CheckSpec, *, on_result: OnResult = repr, on_report: OnReport | None = None, name: str = ""
    ) -> CheckReport:
        """Run the chosen cases: see `halloo._check.runner.check`. Raises UsageError if there are none."""
        return run_check(
            spec,
            self.cases(spec),
            RunOptions(seed=self.seed, longer=self.longer, jobs=self.jobs),
            level=self.level,
            strict=self.strict,
            only=self.only,
            on_result=on_result,
            on_report=on_report,
            name=name,
        )


CASES, OUTPUTS = Choice(), Outputs()


def server(
    address: str | None = None,
    /,
    *words: Words,
    command: CommandWords = (),
    port: Port = 0,
    udp: Annotated[bool, switch("--udp")] = False,
    tls: Annotated[bool, switch("--tls")] = False,
    unix: Annotated[bool, switch("--unix")] = False,
    expect: str | None = None,
    messages: str | None = None,
    greeting: Annotated[bool, switch("--greeting")] = False,
    stdin: Stdin | None = None,
    start: Seconds = START_TIMEOUT,
    lossy: Annotated[bool, switch("--lossy")] = False,
    allow_remote: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="HOST")] = (),
    each: Annotated[str | None, Parameter(metavar="FOLDERS")] = None,
    resume: Annotated[bool, switch("--resume")] = False,
    choice: Choice = CASES,
    outputs: Outputs = OUTPUTS,
    quiet: Quiet = False,
) -> int:
    """Check an echo server, for example: halloo check server -- python server.py PORT.

    The command is started anew for each case, with PORT (or {port}) replaced by a free port, and HOST by its host; all
    its processes are ended afterwards. A server given by address is checked with care: at most 50 connections and
    8 MiB, and no case that needs its process.

    PORT and the like are replaced where they stand alone, as in localhost:PORT or --port=PORT, and {port} anywhere;
    $PORT, ${PORT} and PORT=8888 are left to the shell.

    Parameters
    ----------
    address
        Running server to check: 8888, host:8888, udp://host:8888, tls://host:8888, unix:/path.
    port
        Fixed port of a program that accepts no port argument.
    udp
        Check over UDP.
    tls
        Check over TLS.
    unix
        Check over a Unix socket, at {path} or PATH in the command.
    expect
        Expected change to each line: upper, lower, reverse or MODULE:FUNCTION.
    messages
        MODULE:FUNCTION makes the messages of a protocol that is not lines of text: called with 0, 1, 2, ..., it returns
        a request, to which --expect gives the reply, or (request, reply). Cases that need an echo are skipped.
    greeting
        Expect one line from the server before the echo.
    stdin
        Standard input of the server: a terminal or a pipe, both open and silent, or none; by default a pipe.
    start
        Maximum time until the server listens.
    lossy
        Permit a UDP server to lose some datagrams: each is sent again until it is answered.
    allow_remote
        Permit checking this public host; only for hosts that are yours to test.
    each
        Check every folder that matches, such as 'subs/*'; {dir} or DIR in the command is its name.
    resume
        With --each: skip folders that have a report in the --json file.
    quiet
        Print the summary only.
    """
    schemes = [name for name, given in (("udp", udp), ("tls", tls), ("unix", unix)) if given]
    if len(schemes) > 1:
        raise UsageError(f"--{schemes[0]} and --{schemes[1]} exclude each other", "check once for each")
    if address is not None and address not in allow_remote:
        options = [*(f"--{scheme}" for scheme in schemes), *(["--port", str(port)] if port else [])]
        refuse_program((address, *words), "server", options)
    _refuse(words, "server")
    given = {"port": port, "each": each is not None, "stdin": stdin, "start": start != START_TIMEOUT}
    of_command = [*schemes, *(name for name, value in given.items() if value)]
    if address is not None and of_command:
        raise UsageError("is for a command, and an address is checked", "leave it out", argument=of_command[0])
    if address is None and allow_remote:
        raise UsageError("is for an address, and a command is checked", "leave it out", argument="allow_remote")
    if resume and each is None:
        raise UsageError("is for several folders", "give each= as well", argument="resume")
    parsed = parse(address) if address is not None else None
    subject = ServerSpec(
        command=command,
        address=parsed,
        scheme=parsed.scheme if parsed else schemes[0] if schemes else "tcp",
        port=port,
        expect=parse_transform(expect),
        messages=parse_messages(messages, parse_transform(expect)),
        greeting=greeting,
        stdin=stdin or "pipe",
        start=start,
        lossy=lossy,
        allow_remote=allow_remote,
    )
    if each is None:
        return run_one(subject, choice, outputs, quiet=quiet).exit_code
    return exit_code_of_all(run_each(each, subject, choice, outputs, resume=resume))


def client(
    *words: Words,
    command: CommandWords = (),
    port: Port = 0,
    udp: Annotated[bool, switch("--udp")] = False,
    stdin: Stdin | None = None,
    message: Annotated[str, Parameter(metavar="TEXT")] = "",
    verifying: Annotated[bool, switch("--verifying")] = False,
    silent: Annotated[bool, switch("--silent")] = False,
    messages: str | None = None,
    choice: Choice = CASES,
    outputs: Outputs = OUTPUTS,
    quiet: Quiet = False,
) -> int:
    """Check an echo client, for example: halloo check client -- python client.py HOST PORT.

    The command is started anew for each case, against a server that replies late, in pieces, incorrectly or not at
    all. A message is typed at the client's prompt; then a blank line, a word such as exit, or Ctrl-D ends the client.
    MSG (or {msg}) in the command passes the message as an argument instead.

    PORT and the like are replaced where they stand alone, as in localhost:PORT or --port=PORT, and {port} anywhere;
    $PORT, ${PORT} and PORT=8888 are left to the shell.

    Parameters
    ----------
    port
        Fixed port of a program that accepts no port argument.
    udp
        Check over UDP.
    stdin
        Standard input of the client: a terminal, a pipe, or none.
    message
        Message to send, in cases that need no message of their own.
    verifying
        Require the client to compare the reply with its message.
    silent
        The client prints no reply: judge it by what arrives at the server, and by its exit code.
    messages
        MODULE:FUNCTION makes the messages of a protocol that is not lines of text: called with 0, 1, 2, ..., it returns
        (request, reply), or (request, reply, text to type at the client). Implies --silent.
    quiet
        Print the summary only.
    """
    refuse_program(words, "client", [*(["--udp"] if udp else []), *(["--port", str(port)] if port else [])])
    _refuse(words, "client")
    scheme = "udp" if udp else "tcp"
    subject = ClientSpec(
        command=command,
        scheme=scheme,
        port=port,
        stdin=stdin,
        message=message,
        verifying=verifying,
        silent=silent,
        messages=parse_messages(messages),
    )
    return run_one(subject, choice, outputs, quiet=quiet).exit_code


def _refuse(words: Sequence[str], kind: str) -> None:
    """Raise UsageError for words that are neither an address nor a command."""
    for word in words[:1]:
        see = f"see: halloo check {kind} --help"
        if word.startswith("-"):
            raise UsageError(f"unknown option: {word}", see)
        port = f"a port is part of the address, as in localhost:{word}; " if word.isdecimal() else ""
        raise UsageError(f"unexpected argument: {shown(word)}", f"{port}{see}")


def cases() -> int:
    """List all cases: what each does, when it passes, its severity and its source."""
    width = width_of(sys.stdout)
    for case in all_cases():
        print(folded(f"{case.path} {case.name} ({case.severity}, level {case.level}): {case.description}", width))
        print(folded(f"    passes: {case.passes} [{case.source}]", width))
    return 0


def run_one(spec: CheckSpec, choice: Choice, outputs: Outputs, *, quiet: bool = False) -> CheckReport:
    """Check a server or client, show progress and results on the terminal, and write the requested files."""
    stream = sys.stderr if STDOUT in outputs.paths else sys.stdout
    outputs.validate()
    cases = choice.cases(spec)  # a usage error, before anything is shown
    report: CheckReport | None = None
    try:
        with nullcontext(repr) if quiet else progress(cases, stream) as show:
            report = choice.check(spec, on_result=show, on_report=outputs.update if outputs.paths else None)
    except OSError:
        if report is None or not report.interrupted:
            raise  # else the terminal has hung up
    finally:
        if report is not None:
            _finish(report, outputs, stream, quiet=quiet)
    if report.error:
        raise report.error
    return report


def _finish(report: CheckReport, outputs: Outputs, stream: TextIO, *, quiet: bool) -> None:
    """Write the files and then the text, even if a file could not be written."""
    width = width_of(stream)
    try:
        outputs.write([report])
    finally:
        text = folded(summary(report), width) if quiet else check_text(report, hints=outputs.hints, width=width)
        # The reader has left, or the terminal has hung up; the exit code says the rest.
        with suppress(OSError if report.interrupted else BrokenPipeError):
            print_text(text, stream)


def run_each(
    pattern: str, spec: ServerSpec, choice: Choice, outputs: Outputs, *, resume: bool = False
) -> list[CheckReport]:
    """Check each matching folder, whose name replaces {dir} in the command, and write the files after each.

    What is no file gets its reports once, at the end. `resume` skips folders that the JSON file has reports of. Raises
    UsageError if nothing matches.
    """
    folders = sorted(folder for folder in glob.glob(pattern) if Path(folder).is_dir())  # noqa: PTH207 - as a shell does
    if not folders:
        raise UsageError(f"no folder matches {pattern!r}", "write it as the shell would: 'subs/*'")
    outputs.validate()
    append_to = outputs.json if outputs.json != STDOUT else None
    if resume and not append_to:
        raise UsageError("needs the reports of an earlier run", "name their file with json=", argument="resume")
    done = list(read_reports(read_text(append_to), allow_truncated=True)) if resume and append_to else []
    done_before = {report.target for report in done}
    if append_to and not resume:
        write_file(append_to, "")
    stream = sys.stderr if STDOUT in outputs.paths else sys.stdout
    try:
        for folder in folders:
            if folder in done_before:
                continue
            report = choice.check(replace(spec, folder=folder))
            if report.interrupted:
                raise KeyboardInterrupt
            if report.error:
                raise report.error
            done.append(report)
            if append_to:
                with appender(append_to) as write:
                    write(check_json(report, hints=outputs.hints, indent=None) + "\n")
            outputs.write(done, json=not append_to, streams=False)
            print(folded(f"{folder}: {summary(report)}", width_of(stream)), file=stream, flush=True)
    finally:
        if done:
            outputs.write(done, json=not append_to)
    return done


def register(check: App) -> None:
    """Add the commands below `halloo check`."""
    check.command(server, sort_key=0)
    check.command(client, sort_key=1)
    check.command(cases, name="list", sort_key=2)
