"""The commands of `halloo check`: signatures are the options, docstrings the help.

The words after `--` are the command to check; `main` passes them on unchanged.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import App, Parameter

from halloo._check.catalogue import cases as all_cases
from halloo._check.report.finding import Hints
from halloo._check.results import exit_code_of_all
from halloo._check.run import Choice, Outputs, client_spec, run, run_each, server_spec
from halloo._check.spec import Stdin
from halloo._cli.options import File, Quiet, switch
from halloo._core.address import parse
from halloo._output.terminal import folded, width_of
from halloo.errors import UsageError

CommandWords = Annotated[
    tuple[str, ...], Parameter(name="--command", show=False, allow_leading_hyphen=True, negative=())
]
Port = Annotated[int, Parameter(show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ChoiceFlags(Choice):
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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CheckOutputFlags(Outputs):
    """Options that select the reports."""

    hints: Hints = "fix"
    """Detail of hints about a failure: none, its likely cause, or also the fix in code."""
    json: File = None
    """File for a JSON report; - is standard output, also below."""
    junit: File = None
    """File for a JUnit XML report."""
    html: File = None
    """File for a report as a single HTML page."""
    markdown: File = None
    """File for a Markdown report."""
    gradescope: File = None
    """File for Gradescope's results.json."""
    csv: File = None
    """File for a CSV table of points, a row for each target."""
    grade: File = None
    """TOML file with the weights of the cases: see docs/how-to/mark-a-course.md."""


CASES, OUTPUTS = ChoiceFlags(), CheckOutputFlags()


def server(
    address: str | None = None,
    /,
    *,
    command: CommandWords = (),
    port: Port = 0,
    udp: Annotated[bool, switch("--udp")] = False,
    tls: Annotated[bool, switch("--tls")] = False,
    unix: Annotated[bool, switch("--unix")] = False,
    expect: str | None = None,
    greeting: Annotated[bool, switch("--greeting")] = False,
    allow_remote: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="HOST")] = (),
    each: Annotated[str | None, Parameter(metavar="FOLDERS")] = None,
    resume: Annotated[bool, switch("--resume")] = False,
    choice: ChoiceFlags = CASES,
    outputs: CheckOutputFlags = OUTPUTS,
    quiet: Quiet = False,
) -> int:
    """Check an echo server, for example: halloo check server -- python server.py PORT.

    The command is started anew for each case, with PORT (or {port}) replaced by a free port, and all its processes are
    ended afterwards. A server given by address is checked with care: at most 50 connections and 8 MiB, and no case that
    needs its process.

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
        Check over a Unix socket, at {path} in the command.
    expect
        Expected change to each line: upper, lower, reverse or MODULE:FUNCTION.
    greeting
        Expect one line from the server before the echo.
    allow_remote
        Permit checking this public host; only for hosts that are yours to test.
    each
        Check every folder that matches, such as 'subs/*'; {dir} or DIR in the command is the folder.
    resume
        With --each: skip folders that have a report in the --json file.
    quiet
        Print the summary only.
    """
    schemes = [name for name, given in (("udp", udp), ("tls", tls), ("unix", unix)) if given]
    if len(schemes) > 1:
        raise UsageError(f"--{schemes[0]} and --{schemes[1]} exclude each other", "check once for each")
    of_command = [*schemes, *(["port"] if port else []), *(["each"] if each is not None else [])]
    if address is not None and of_command:
        raise UsageError("is for a command, and an address is checked", "leave it out", argument=of_command[0])
    if address is None and allow_remote:
        raise UsageError("is for an address, and a command is checked", "leave it out", argument="allow_remote")
    if resume and each is None:
        raise UsageError("is for several folders", "give each= as well", argument="resume")
    subject = server_spec(
        parse(address) if address is not None else None,
        command,
        scheme=schemes[0] if schemes else "tcp",
        port=port,
        expect=expect,
        greeting=greeting,
        allowed=allow_remote,
    )
    if each is None:
        return run(subject, choice, outputs, quiet=quiet).exit_code
    return exit_code_of_all(run_each(each, subject, choice, outputs, resume=resume))


def client(
    *,
    command: CommandWords = (),
    port: Port = 0,
    udp: Annotated[bool, switch("--udp")] = False,
    stdin: Stdin | None = None,
    message: Annotated[str, Parameter(metavar="TEXT")] = "",
    verifying: Annotated[bool, switch("--verifying")] = False,
    choice: ChoiceFlags = CASES,
    outputs: CheckOutputFlags = OUTPUTS,
    quiet: Quiet = False,
) -> int:
    """Check an echo client, for example: halloo check client -- python client.py HOST PORT.

    The command is started anew for each case, against a server that replies late, in pieces, incorrectly or not at
    all. A message is typed at the client's prompt, and a blank line ends the client; MSG (or {msg}) in the command
    passes the message as an argument instead.

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
    quiet
        Print the summary only.
    """
    subject = client_spec(
        command, scheme="udp" if udp else "tcp", port=port, stdin=stdin, message=message, verifying=verifying
    )
    return run(subject, choice, outputs, quiet=quiet).exit_code


def cases() -> int:
    """List all cases: what each does, when it passes, its severity and its source."""
    width = width_of(sys.stdout)
    for case in all_cases():
        print(folded(f"{case.path} {case.name} ({case.severity}, level {case.level}): {case.description}", width))
        print(folded(f"    passes: {case.passes} [{case.source}]", width))
    return 0


def register(check: App) -> None:
    """Add the commands below `halloo check`."""
    check.command(server, sort_key=0)
    check.command(client, sort_key=1)
    check.command(cases, name="list", sort_key=2)
