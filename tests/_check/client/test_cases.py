"""Correct clients pass all cases; each mutant fails exactly the cases about its mistake.

The complete run takes minutes (`make check-all`); the quick cases of two correct clients always run.
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from halloo._check.case import MAX_LEVEL, QUICK, AnyCase
from halloo._check.catalogue import cases as all_cases
from halloo._check.execution import RunOptions, run_case
from halloo._check.results import Result
from halloo._check.runner import with_causes
from halloo._check.scheduling import run_all
from halloo._check.spec import ClientSpec, Stdin
from tests._check.client.families import HOSTS, IN_BOTH_FAMILIES
from tests._check.mutants import clients
from tests.programs import EXAMPLES, PYTHON

CASES = {case.id: case for case in all_cases() if case.id[0] == "C"}
GOOD = ("PASS", "INFO", "SKIP")
JOBS = 4  # most cases only wait
HALLOO = (PYTHON, "-m", "halloo", "connect")


@dataclass(frozen=True, kw_only=True)
class ClientCase:
    """A client and the cases that it fails or that warn; no others."""

    words: tuple[str, ...]
    stdin: Stdin | None = "pipe"
    scheme: str = "tcp"
    verifying: bool = False
    silent: bool = False
    level: int = MAX_LEVEL
    fails: str = ""
    warns: str = ""
    causes: str = ""  # ids of the mistakes that are named; each failed case has one

    def run(self, cases: Iterable[AnyCase], *, seed: int = 1) -> tuple[Result, ...]:
        subject = ClientSpec(
            command=self.words, scheme=self.scheme, stdin=self.stdin, verifying=self.verifying, silent=self.silent
        )
        fitting = [case for case in cases if case.runs_over(self.scheme) and case.level <= self.level]
        return with_causes(run_all(fitting, lambda case: run_case(case, subject, RunOptions(seed=seed)), jobs=JOBS))


TYPED = (PYTHON, "-m", "tests._check.client.typed")


def typed(changes: dict[str, str]) -> ClientCase:
    """A correct variant of the typed client."""
    return ClientCase(words=clients.typed("", changes).command("HOST", "PORT"), stdin=None)


def example(*words: str, level: int = 3, stdin: Stdin | None = None, **options: Any) -> ClientCase:  # noqa: ANN401 - those of ClientCase
    """A program of the tutorial, at the level that it claims."""
    return ClientCase(words=(PYTHON, str(EXAMPLES / words[0]), *words[1:]), stdin=stdin, level=level, **options)


REFERENCE = ClientCase(words=(PYTHON, "-m", "tests._check.client.reference", "HOST", "PORT"), verifying=True)
CORRECT = {
    "reference": REFERENCE,
    "reference with argument": ClientCase(words=(*REFERENCE.words, "{msg}"), stdin=None, verifying=True),
    "reference, silent": ClientCase(words=clients.SILENT.command("HOST", "PORT"), verifying=True, silent=True),
    "reference of datagrams": ClientCase(
        words=(PYTHON, "-m", "tests._check.client.reference_udp", "HOST", "PORT"), scheme="udp"
    ),
    "pinger": ClientCase(
        words=(PYTHON, "-m", "tests._check.client.pinger", "HOST", "PORT"), stdin="none", scheme="udp", warns="C32"
    ),
    "halloo": ClientCase(words=(*HALLOO, "HOST:PORT")),
    "halloo typed": ClientCase(words=(*HALLOO, "HOST:PORT"), stdin=None),
    "halloo udp": ClientCase(words=(*HALLOO, "udp://HOST:PORT"), scheme="udp"),
    "halloo udp typed": ClientCase(words=(*HALLOO, "udp://HOST:PORT"), stdin=None, scheme="udp"),
    "typed": ClientCase(words=(*TYPED, "HOST", "PORT"), stdin=None),
    "typed, with a long timeout": typed({", timeout=5": ", timeout=10"}),
    "typed, prints the bytes": typed({clients.PRINT: "print(reply)"}),
    "typed, ends at a word": typed({clients.PROMPT: 'while (line := input("Send:")) != "quit":'}),
    "typed, sends the word that ends it": typed(
        {clients.PROMPT: 'while line := input("Send:"):', "reply = b": 'if line == "exit":\n    return\nreply = b'}
    ),
    "typed, has no prompt": typed({clients.PROMPT: "while line := input():"}),
    "example safe": example("echoclient_safe.py", "HOST", "PORT", level=MAX_LEVEL),
    # Documented to end in a traceback without a server, and to wait without a timeout, which only level 4 requires.
    "example": example("echoclient.py", "HOST", "PORT", warns="C07 C12 C13"),
    "example, all levels": example(
        "echoclient.py",
        "HOST",
        "PORT",
        level=MAX_LEVEL,
        fails="C08 C20 C28",
        warns="C07 C12 C13",
        causes="client-no-timeout client-traceback",
    ),
    "example of functions": example("echo_functions.py", "client", "HOST", "PORT"),
    "example that only sends": example("client.py", "PORT", stdin="none", silent=True, warns="C13"),
    "example of datagrams": example("udp_client.py", "HOST", "PORT", stdin="none", scheme="udp"),
}
TUTORIAL = "C02 C03 C05 C06 C07 C08 C09 C10 C11 C20 C21 C28"
STDIN: dict[str, Stdin | None] = {"client/pinger": "none", "client/typed": "pty"}
FAULTY = {
    mutant.mistake: ClientCase(
        words=mutant.command("{host}", "{port}"),
        stdin=STDIN.get(mutant.program, "pipe"),
        scheme="udp" if mutant in clients.UDP else "tcp",
        verifying=mutant in clients.TCP,
        fails=" ".join(sorted(mutant.fails)),
        warns=mutant.warns,
        causes=mutant.cause,
    )
    for mutant in (*clients.TYPED, *clients.TCP, *clients.UDP)
} | {
    "tutorial": ClientCase(
        words=(PYTHON, "-m", "tests._check.mutants.tutorial", "{host}", "{port}"),
        stdin=None,
        verifying=True,
        fails=TUTORIAL,
        causes="client-ignores-eof client-no-timeout client-not-compared client-one-recv client-traceback",
        warns="C12 C13",
    )
}


def verdicts(results: Iterable[Result], verdict: str) -> dict[str, str]:
    return {result.case.id: result.text for result in results if result.verdict == verdict}


def check_verdicts(client: ClientCase, results: tuple[Result, ...]) -> None:
    problems = [f"{each.case.id} {each.verdict}: {each.text}" for each in results if each.verdict not in GOOD]
    assert " ".join(sorted(verdicts(results, "FAIL"))) == client.fails, problems
    assert " ".join(sorted(verdicts(results, "WARN"))) == client.warns, problems
    assert not verdicts(results, "ERROR"), problems
    named = {each.case.id: cause.id for each in results for cause in each.causes}
    assert " ".join(sorted({*named.values()})) == client.causes, problems
    assert set(verdicts(results, "FAIL")) == set(named), problems


@pytest.mark.parametrize("name", ["reference", "halloo", "reference of datagrams"])
def test_the_quick_cases_pass(name: str) -> None:
    quick = QUICK | {"C02", "C05", "C26", "C30", "C31", "C33"}
    check_verdicts(CORRECT[name], CORRECT[name].run(case for case in CASES.values() if case.id in quick))


# They fail at once, others after a timeout.
QUICK_MUTANTS = (
    *("receives once", "receives at most five bytes", "decodes each piece", "does not notice the end"),
    *("strips the line", "strips the input before sending it", "adds a newline", "reads its input as text"),
    *("exits with code 0 after a reset", "accepts a reply from any sender", "receives 1024 bytes"),
)


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_the_cause_of_a_failure_is_found_at_once(name: str) -> None:
    client = FAULTY[name]
    check_verdicts(client, client.run(CASES[case] for case in {"C01", *client.fails.split()}))


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_client_passes(name: str) -> None:
    check_verdicts(CORRECT[name], CORRECT[name].run(CASES.values()))


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", FAULTY)
def test_a_mutant_fails_exactly_its_cases(name: str) -> None:
    check_verdicts(FAULTY[name], FAULTY[name].run(CASES.values()))


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("words", "failed"),
    [
        (CORRECT["reference"].words, ""),
        (CORRECT["halloo"].words, ""),
        *((mutant.command("HOST", "PORT"), "".join(mutant.fails)) for mutant in clients.BY_NAME),
    ],
    ids=["reference", "halloo", *(mutant.mistake for mutant in clients.BY_NAME)],
)
def test_both_families_of_a_name_are_tried(words: tuple[str, ...], failed: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    command = (*IN_BOTH_FAMILIES, str(hosts), PYTHON, "-m", "tests._check.client.families", *words)
    run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if run.returncode:
        pytest.skip(f"needs a mount namespace: {run.stderr[-200:]}")
    found = dict(line.split() for line in run.stdout.splitlines())
    assert found == {each: "FAIL" if each == failed else "PASS" for each in ("C18", "C19")}


def test_each_required_case_is_failed_by_a_mutant() -> None:
    failed = {each for mutant in (*clients.TCP, *clients.UDP, *clients.BY_NAME) for each in mutant.fails}
    assert {case.id for case in CASES.values() if case.severity != "INFO"} - failed == set()


def test_a_case_is_either_tcp_or_udp() -> None:
    for case in CASES.values():
        assert case.schemes == ("udp" if case.id >= "C29" else "")
