"""Check an echo: ask it case after case, and say what is wrong with it.

Knows the catalogue and the runner. How a report is told is for `halloo._output` to know; where to, is decided here.
"""

import glob
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from halloo._check.case import HIGHEST, Case
from halloo._check.catalogue import cases, chosen
from halloo._check.client.runner import ask_client
from halloo._check.grading import Weights, read_weights
from halloo._check.report.finding import Hints
from halloo._check.report.html import check_html
from halloo._check.report.json import check_json, read
from halloo._check.report.junit import junit
from halloo._check.report.markdown import check_markdown
from halloo._check.report.marks import gradescope, marks
from halloo._check.report.summary import summary
from halloo._check.report.text import check_text, progress, say
from halloo._check.results import CheckReport, Result
from halloo._check.runner import Ask, RunOptions, ask, ask_all
from halloo._check.server.program import UNSTARTED, located
from halloo._check.spec import ClientSpec, ServerSpec, Stdin, expectation
from halloo._core.address import Address
from halloo._core.limits import is_near
from halloo._output.files import STANDARD, opened, read_from, see_writable
from halloo.errors import LocalError, UsageError

LEVEL = 3  # what most servers are for: many clients at once
Anybody = ServerSpec | ClientSpec


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which cases are asked, and how."""

    only: tuple[str, ...] = ()
    level: int = LEVEL
    quick: bool = False
    strict: bool = False
    longer: bool = False
    seed: int = 1
    jobs: int = 1

    def cases(self, subject: Anybody) -> tuple[Case, ...]:
        """Choose for a subject. Raises UsageError when there is nothing to ask."""
        client = isinstance(subject, ClientSpec)
        kind = "C" if client else "U" if subject.scheme == "udp" else "T"
        known = [case for case in cases() if case.id[0] == kind]
        return chosen(known, only=self.only, level=self.level, quick=self.quick, scheme=subject.scheme)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where the report goes, besides the terminal: names of files, - for standard output."""

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
        """What the cases are worth. Raises UsageError, LocalError."""
        if self.grade is None:
            return None
        try:
            return read_weights(Path(self.grade).read_text(encoding="utf-8"), known=cases())
        except OSError as error:
            raise LocalError(f"{self.grade}: {error.strerror}", "name a file of weights") from error

    @property
    def places(self) -> list[str]:
        """Where all of it goes."""
        wanted = (self.json, self.junit, self.html, self.markdown, self.gradescope, self.csv)
        return [place for place in wanted if place]

    @property
    def streams(self) -> bool:
        """Whether one of them takes standard output, so that the text has to go elsewhere."""
        return STANDARD in self.places

    def see(self) -> None:
        """Tell of a mistake before the work begins, not when it is done. Raises UsageError, LocalError."""
        _ = self.weights
        for place in self.places:
            see_writable(place)

    def write(self, reports: Sequence[CheckReport], *, json: bool = True) -> None:
        """Write all that were asked for; `json` is written elsewhere when it grows report by report."""
        weights, hints = self.weights, self.hints
        texts: tuple[tuple[str | None, Callable[[], str]], ...] = (
            (self.json if json else None, lambda: "\n".join(check_json(each, hints=hints) for each in reports)),
            (self.junit, lambda: junit(reports, hints=hints, weights=weights)),
            (self.html, lambda: check_html(reports, hints=hints, weights=weights)),
            (self.markdown, lambda: check_markdown(reports, hints=hints)),
            (self.gradescope, lambda: gradescope(reports, hints=hints, weights=weights)),
            (self.csv, lambda: marks(reports, weights=weights)),
        )
        for place, text in texts:
            if place:
                told = text().rstrip("\n")
                with opened(place) as file:
                    print(told, file=file)


def server_subject(
    address: Address | None,
    command: Sequence[str],
    *,
    scheme: str = "tcp",
    port: int = 0,
    expect: str | None = None,
    greeting: bool = False,
    allowed: Sequence[str] = (),
) -> ServerSpec:
    """Say which server is checked: an address or a command. Raises UsageError for neither, or somebody else's."""
    if (address is None) == (not command):
        raise UsageError("name one server to check", "an address, or its command: halloo check server -- COMMAND PORT")
    host = address.host or "localhost" if address else "localhost"
    if not is_near(host) and host not in allowed:
        raise UsageError(
            f"{host} is neither this machine's nor a private address", f"if it is yours to test: --allow-remote {host}"
        )
    return ServerSpec(
        scheme=address.scheme if address else scheme,
        command=tuple(command),
        address=address,
        port=port,
        expect=expectation(expect),
        greeting=greeting,
    )


def client_subject(
    command: Sequence[str],
    *,
    scheme: str = "tcp",
    port: int = 0,
    stdin: Stdin | None = None,
    message: str = "",
    verifying: bool = False,
) -> ClientSpec:
    """Say which client is checked. Raises UsageError when it does not say where its server's port belongs."""
    if not command:
        raise UsageError("name a client to check", "its command: halloo check client -- COMMAND HOST PORT")
    subject = ClientSpec(
        command=tuple(command), scheme=scheme, port=port, stdin=stdin, message=message, verifying=verifying
    )
    if not port and not subject.takes_port:
        raise UsageError("the command does not say where the port belongs", "write PORT there, or --port 8888")
    return subject


def check(
    subject: Anybody,
    choice: Choice,
    *,
    watch: Callable[[Result], object] = repr,
    asked: Sequence[Case] | None = None,
    name: str = "",
) -> CheckReport:
    """Ask a server or a client the chosen cases, or those `asked`; `watch` is given each result as it comes.

    `name` is what the report calls it, its command when empty. Raises UsageError when there is nothing to ask.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    picked = choice.cases(subject) if asked is None else asked
    client = isinstance(subject, ClientSpec)
    if not isinstance(subject, ClientSpec):
        subject = located(subject)
    jobs = 1 if subject.port or not subject.command else choice.jobs
    results = ask_all(
        picked, _asking(subject, RunOptions(seed=choice.seed, longer=choice.longer)), jobs=jobs, watch=watch
    )
    started_at_all = any(each.pattern != UNSTARTED and each.verdict != "BLOCKED" for each in results)
    again = f"halloo check {'client' if client else 'server'} --only {{}} --seed {choice.seed} -- {subject.name}"
    return CheckReport(
        target=name or subject.name,
        kind="client" if client else "server",
        scheme=subject.scheme,
        seed=choice.seed,
        level=HIGHEST if choice.only else choice.level,
        strict=choice.strict,
        seconds=time.monotonic() - began,
        results=tuple(replace(each, repeat=again.format(each.case.id)) for each in results),
        started=started.isoformat(timespec="seconds"),
        trouble="" if started_at_all or not results else results[0].text,
        supplied={"only": list(choice.only)} if choice.only else {},
    )


def _asking(subject: Anybody, trial: RunOptions) -> Ask:
    if isinstance(subject, ClientSpec):
        return lambda case: ask_client(case, subject, trial)
    return lambda case: ask(case, subject, trial)


def run(subject: Anybody, choice: Choice, outputs: Outputs, *, quiet: bool = False) -> CheckReport:
    """Check and tell: on the terminal while it runs, and in all the files that are asked for."""
    stream = sys.stderr if outputs.streams else sys.stdout
    outputs.see()
    picked = choice.cases(subject)
    if quiet:
        report = check(subject, choice, asked=picked)
        say(summary(report), stream)
    else:
        with progress(picked, stream) as shown:
            report = check(subject, choice, asked=picked, watch=shown.update)
        say(check_text(report, hints=outputs.hints), stream)
    outputs.write([report])
    return report


def run_each(
    pattern: str, subject: ServerSpec, choice: Choice, outputs: Outputs, *, resume: bool = False
) -> list[CheckReport]:
    """Check every folder that matches, its name in the place of {dir}, and write all that is known after each.

    `resume` leaves out those whose reports the JSON file has already. Raises UsageError when nothing matches.
    """
    folders = sorted(folder for folder in glob.glob(pattern) if Path(folder).is_dir())  # noqa: PTH207 - as a shell does
    if not folders:
        raise UsageError(f"no folder matches {pattern!r}", "write it as the shell would: --each 'subs/*'")
    outputs.see()
    done = _known(outputs.json) if resume else []
    known = {report.target for report in done}
    growing = outputs.json if outputs.json != STANDARD else None
    if growing and not resume:
        with opened(growing):  # and so emptied
            pass
    for folder in folders:
        if folder in known:
            continue
        words = tuple(word.replace("{dir}", folder).replace("DIR", folder) for word in subject.command)
        report = check(replace(subject, command=words), choice, name=folder)
        done.append(report)
        print(f"{folder}: {summary(report)}", file=sys.stderr if outputs.streams else sys.stdout, flush=True)
        if growing:
            with opened(growing, more=True) as file:
                file.write(check_json(report, hints=outputs.hints, indent=None) + "\n")
        outputs.write(done, json=not growing)
    return done


def _known(place: str | None) -> list[CheckReport]:
    if place is None or place == STANDARD:
        raise UsageError("--resume goes on from the reports of an earlier run", "name their file: --json FILE")
    return list(read(read_from(place), torn=True))
