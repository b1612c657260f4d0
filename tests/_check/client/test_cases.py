"""Correct clients pass all cases; each mutant fails exactly the cases about its mistake.

The complete run takes minutes (`make check-all`); the quick cases of two correct clients always run.
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from halloo._check.case import QUICK, Case, cases_in
from halloo._check.client.cases import MODULES
from halloo._check.client.runner import ask_client
from halloo._check.results import Result
from halloo._check.runner import RunOptions, run_all
from halloo._check.spec import ClientSpec, Stdin
from tests._check.client.families import HOSTS, IN_BOTH_FAMILIES
from tests.programs import EXAMPLES, PYTHON

CASES = {case.id: case for module in MODULES for case in cases_in(vars(module).values())}
GOOD = ("PASS", "INFO", "SKIP")
MUTANT_DIR = Path(__file__).parent.parent / "mutants" / "clients"
JOBS = 4  # most cases only wait
HALLOO = (PYTHON, "-m", "halloo", "connect")


@dataclass(frozen=True, kw_only=True)
class ClientCase:
    """A client and the cases that it fails or that warn; no others."""

    words: tuple[str, ...]
    stdin: Stdin | None = "pipe"
    scheme: str = "tcp"
    verifying: bool = False
    fails: str = ""
    warns: str = ""

    def run(self, cases: Iterable[Case], *, seed: int = 1) -> tuple[Result, ...]:
        subject = ClientSpec(
            command=self.words, scheme=self.scheme, stdin=self.stdin, verifying=self.verifying, message=""
        )
        fitting = [case for case in cases if self.scheme in case.schemes]
        return run_all(fitting, lambda case: ask_client(case, subject, RunOptions(seed=seed)), jobs=JOBS)


def mutant(name: str, fails: str, *, warns: str = "", stdin: Stdin | None = "pipe", scheme: str = "tcp") -> ClientCase:
    words = (PYTHON, "-m", f"tests._check.mutants.clients.{name}", "{host}", "{port}")
    return ClientCase(words=words, stdin=stdin, scheme=scheme, verifying=scheme == "tcp", fails=fails, warns=warns)


REFERENCE = ClientCase(words=(PYTHON, "-m", "tests._check.client.reference", "HOST", "PORT"), verifying=True)
CORRECT = {
    "reference": REFERENCE,
    "reference with argument": ClientCase(words=(*REFERENCE.words, "{msg}"), stdin=None, verifying=True),
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
    "example safe": ClientCase(words=(PYTHON, str(EXAMPLES / "echoclient_safe.py"), "HOST", "PORT"), stdin=None),
    # Documented to wait without a timeout and to print tracebacks.
    "example": ClientCase(
        words=(PYTHON, str(EXAMPLES / "echoclient.py"), "HOST", "PORT"),
        stdin=None,
        fails="C08 C20 C28",
        warns="C07 C12 C13",
    ),
}
MUTANT_CLIENTS = {
    "prints_nothing": mutant("prints_nothing", "C01"),
    "receives_once": mutant("receives_once", "C02 C03 C05 C14 C15"),
    "says_what_it_sent": mutant("says_what_it_sent", "C02 C03 C05 C14 C15"),
    "decodes_each_chunk": mutant("decodes_each_chunk", "C03 C23"),
    "sends_before_it_reads": mutant("sends_before_it_reads", "C14"),
    "never_times_out": mutant("never_times_out", "C08 C20"),
    "has_no_patience": mutant("has_no_patience", "C04"),
    "expects_a_speed": mutant("expects_a_speed", "C15"),
    "ignores_an_early_end": mutant("ignores_an_early_end", "C06 C11 C27"),
    "succeeds_after_a_reset": mutant("succeeds_after_a_reset", "C07 C12"),
    "succeeds_without_a_server": mutant("succeeds_without_a_server", "C13"),
    "fails_after_the_answer": mutant("fails_after_the_answer", "C26"),
    "shows_tracebacks": mutant("shows_tracebacks", "C21 C28", warns="C06 C07 C08 C11 C12 C13 C20 C27"),
    "cannot_be_interrupted": mutant("cannot_be_interrupted", "C21"),
    "waits_after_nothing": mutant("waits_after_nothing", "C22"),
    "strips": mutant("strips", "C17"),
    "resets_at_the_end": mutant("resets_at_the_end", "C17"),
    "adds_a_newline": mutant("adds_a_newline", "C24"),
    "reads_text": mutant("reads_text", "C23"),
    "resends": mutant("resends", "C17 C23 C24"),
    "ignores_send": mutant("ignores_send", "C25"),
    "does_not_compare": mutant("does_not_compare", "C09 C10"),
    "tutorial": mutant("tutorial", "C02 C03 C05 C06 C07 C08 C09 C10 C11 C20 C21 C28", warns="C12 C13", stdin=None),
    "udp_waits_for_ever": mutant("udp_waits_for_ever", "C29 C34", scheme="udp"),
    "udp_says_that_it_waits": mutant("udp_says_that_it_waits", "C29 C34", scheme="udp"),
    "udp_takes_any_sender": mutant("udp_takes_any_sender", "C30", scheme="udp"),
    "udp_takes_copies": mutant("udp_takes_copies", "C31", scheme="udp"),
    "udp_succeeds_without_a_server": mutant("udp_succeeds_without_a_server", "C32", scheme="udp"),
    "udp_reads_little": mutant("udp_reads_little", "C33", scheme="udp"),
    "udp_stops_at_a_loss": mutant("udp_stops_at_a_loss", "C34", stdin="none", scheme="udp"),
}
# These need a machine where localhost has two address families.
BY_NAME = {"tries_one_address": "C18", "knows_one_family": "C19"}


def verdicts(results: Iterable[Result], verdict: str) -> dict[str, str]:
    return {result.case.id: result.text for result in results if result.verdict == verdict}


def check_verdicts(client: ClientCase, results: tuple[Result, ...]) -> None:
    problems = [f"{each.case.id} {each.verdict}: {each.text}" for each in results if each.verdict not in GOOD]
    assert " ".join(sorted(verdicts(results, "FAIL"))) == client.fails, problems
    assert " ".join(sorted(verdicts(results, "WARN"))) == client.warns, problems
    assert not verdicts(results, "ERROR"), problems


@pytest.mark.parametrize("name", ["reference", "halloo"])
def test_the_quick_cases_pass(name: str) -> None:
    check_verdicts(CORRECT[name], CORRECT[name].run(case for case in CASES.values() if case.id in QUICK))


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_client_passes(name: str) -> None:
    check_verdicts(CORRECT[name], CORRECT[name].run(CASES.values()))


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MUTANT_CLIENTS)
def test_a_mutant_fails_exactly_its_cases(name: str) -> None:
    check_verdicts(MUTANT_CLIENTS[name], MUTANT_CLIENTS[name].run(CASES.values()))


@pytest.mark.conformance
@pytest.mark.parametrize(("name", "failed"), [("reference", ""), ("halloo", ""), *BY_NAME.items()])
def test_both_families_of_a_name_are_tried(name: str, failed: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    words = CORRECT[name].words if name in CORRECT else mutant(name, "").words
    command = (*IN_BOTH_FAMILIES, str(hosts), PYTHON, "-m", "tests._check.client.families", *words)
    run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if run.returncode:
        pytest.skip(f"needs a mount namespace: {run.stderr[-200:]}")
    found = dict(line.split() for line in run.stdout.splitlines())
    assert found == {each: "FAIL" if each == failed else "PASS" for each in ("C18", "C19")}


def test_each_required_case_fails_at_least_one_mutant() -> None:
    failed = {each for client in MUTANT_CLIENTS.values() for each in client.fails.split()} | {*BY_NAME.values()}
    assert {case.id for case in CASES.values() if case.severity != "INFO"} - failed == set()


def test_every_mutant_is_checked() -> None:
    assert {path.stem for path in MUTANT_DIR.glob("*.py")} == {*MUTANT_CLIENTS, *BY_NAME}


def test_the_catalogue_is_complete() -> None:
    assert sorted(CASES) == [f"C{number:02}" for number in range(1, 35)]


def test_a_case_is_described_and_needs_existing_cases() -> None:
    assert all(case.description and case.passes and CASES.keys() >= {*case.needs} for case in CASES.values())


def test_a_case_is_either_tcp_or_udp() -> None:
    assert all(case.schemes == ({"udp"} if case.id >= "C29" else {"tcp"}) for case in CASES.values())
