"""The verbs of `halloo check`: their signatures are the options, their docstrings the help.

What follows `--` on the command line is the command to check; `main` hands it over word by word.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import App, Parameter

from halloo._check.catalogue import cases as all_cases
from halloo._check.report.finding import Hints
from halloo._check.run import Choice, Outputs, client_spec, run, run_each, server_spec
from halloo._check.spec import Stdin
from halloo._cli.options import File, Quiet, switch
from halloo._core.address import parse
from halloo.errors import UsageError

Words = Annotated[tuple[str, ...], Parameter(name="--command", show=False, allow_leading_hyphen=True, negative=())]
Port = Annotated[int, Parameter(show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ChoiceFlags(Choice):
    """Which cases, as options."""

    only: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="CASES")] = ()
    """These cases alone: T11, or tcp/T11, or T09,T11; a whole kind: tcp, udp, client."""
    level: Literal[1, 2, 3, 4] = 3
    """Up to this level: 1 is an echo, 2 serves one client after another, 3 many at once, 4 is a service to rely on."""
    quick: Annotated[bool, switch("--quick")] = False
    """The quick cases, about 10 s."""
    strict: Annotated[bool, switch("--strict")] = False
    """Fail for a SHOULD as for a MUST."""
    longer: Annotated[bool, switch("--long")] = False
    """The longer form of those that have one."""
    seed: int = 1
    """What chance begins with."""
    jobs: int = 1
    """So many cases at a time."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CheckOutputFlags(Outputs):
    """Where the report goes, as options."""

    hints: Hints = "fix"
    """How much is said about a failure: its likely cause, and the lines that mend it."""
    json: File = None
    """Write the report as JSON; - is standard output, here and below."""
    junit: File = None
    """Write it as JUnit's XML."""
    html: File = None
    """Write it as one page of HTML."""
    markdown: File = None
    """Write it as Markdown."""
    gradescope: File = None
    """Write it as Gradescope's results.json."""
    csv: File = None
    """Write a row of points for each target."""
    grade: File = None
    """What the cases are worth, as TOML: see docs/how-to/mark-a-course.md."""


CASES, TELLING = ChoiceFlags(), CheckOutputFlags()


def server(
    address: str | None = None,
    /,
    *,
    command: Words = (),
    port: Port = 0,
    udp: Annotated[bool, switch("--udp")] = False,
    tls: Annotated[bool, switch("--tls")] = False,
    unix: Annotated[bool, switch("--unix")] = False,
    expect: str | None = None,
    greeting: Annotated[bool, switch("--greeting")] = False,
    i_may_test: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="HOST")] = (),
    each: Annotated[str | None, Parameter(metavar="FOLDERS")] = None,
    resume: Annotated[bool, switch("--resume")] = False,
    choice: ChoiceFlags = CASES,
    told: CheckOutputFlags = TELLING,
    quiet: Quiet = False,
) -> int:
    """Check an echo server, such as: halloo check server -- python server.py PORT.

    The command is started anew for each case, with PORT (or {port}) replaced by a free one, and all that came of it is
    ended. An address instead of it is asked gently: at most 50 connections and 8 MiB, nothing that needs the process.

    Parameters
    ----------
    address
        A server that is running already: 8888, host:8888, udp://host:8888, tls://host:8888, unix:/path.
    port
        The port of a program that takes none.
    udp
        The command serves UDP.
    tls
        The command serves TLS.
    unix
        The command serves a Unix socket, at {path}.
    expect
        What it makes of each line: upper, lower, reverse or MODULE:FUNCTION.
    greeting
        It sends one line first.
    i_may_test
        A host that is neither this machine's nor private, and that is yours to test.
    each
        Check every folder that matches, such as 'subs/*'; {dir} or DIR in the command is the folder.
    resume
        With --each: leave out those whose reports --json has already.
    quiet
        The summary alone.
    """
    said = [name for name, given in (("udp", udp), ("tls", tls), ("unix", unix)) if given]
    if len(said) > 1:
        raise UsageError(f"--{said[0]} and --{said[1]} exclude each other", "check once for each")
    subject = server_spec(
        parse(address) if address is not None else None,
        command,
        scheme=said[0] if said else "tcp",
        port=port,
        expect=expect,
        greeting=greeting,
        allowed=i_may_test,
    )
    if each is None:
        return run(subject, choice, told, quiet=quiet).exit_code
    return max(report.exit_code for report in run_each(each, subject, choice, told, resume=resume))


def client(
    *,
    command: Words = (),
    port: Port = 0,
    udp: Annotated[bool, switch("--udp")] = False,
    stdin: Stdin | None = None,
    message: Annotated[str, Parameter(metavar="TEXT")] = "",
    verifying: Annotated[bool, switch("--verifying")] = False,
    choice: ChoiceFlags = CASES,
    told: CheckOutputFlags = TELLING,
    quiet: Quiet = False,
) -> int:
    """Check an echo client, such as: halloo check client -- python client.py HOST PORT.

    The command is started anew for each case, against a server that answers late, in pieces, wrongly or not at all. A
    line is typed at its prompt, and a blank one to end it; with MSG (or {msg}) in the command it is told that way.

    Parameters
    ----------
    port
        The port of a program that takes none.
    udp
        The client speaks UDP.
    stdin
        How the message gets to it: typed on a terminal, through a pipe, or not at all.
    message
        What it is to send, where the case needs no message of its own.
    verifying
        It claims to compare the answer with what it sent.
    quiet
        The summary alone.
    """
    subject = client_spec(
        command, scheme="udp" if udp else "tcp", port=port, stdin=stdin, message=message, verifying=verifying
    )
    return run(subject, choice, told, quiet=quiet).exit_code


def cases() -> int:
    """List all cases: what each does, when it is passed, how much it matters, and who says so."""
    for case in all_cases():
        print(f"{case.path} {case.name} ({case.severity}, level {case.level}): {case.description}")
        print(f"    passes: {case.passes} [{case.source}]")
    return 0


def add(check: App) -> None:
    """Put them below `halloo check`."""
    check.command(server, sort_key=0)
    check.command(client, sort_key=1)
    check.command(cases, name="list", sort_key=2)
