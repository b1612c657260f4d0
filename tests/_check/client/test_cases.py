"""The cases are checked: right clients pass, each wrong one is failed by exactly the cases about its mistake.

All of it takes minutes and is run by `make check-all`; the quick cases of two right clients are run always.
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

CASES = {case.id: case for room in MODULES for case in cases_in(vars(room).values())}
GOOD = ("PASS", "INFO", "SKIP")
MUTANTS = Path(__file__).parent.parent / "mutants" / "clients"
JOBS = 4  # most cases wait
HALLOO = (PYTHON, "-m", "halloo", "connect")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client, and which cases fail it or warn it: no others."""

    words: tuple[str, ...]
    stdin: Stdin | None = "pipe"
    scheme: str = "tcp"
    verifying: bool = False
    fails: str = ""
    warns: str = ""

    def asked(self, cases: Iterable[Case], *, seed: int = 1) -> tuple[Result, ...]:
        subject = ClientSpec(
            command=self.words, scheme=self.scheme, stdin=self.stdin, verifying=self.verifying, message=""
        )
        fitting = [case for case in cases if self.scheme in case.schemes]
        return run_all(fitting, lambda case: ask_client(case, subject, RunOptions(seed=seed)), jobs=JOBS)


def mutant(name: str, fails: str, *, warns: str = "", stdin: Stdin | None = "pipe", scheme: str = "tcp") -> Client:
    words = (PYTHON, "-m", f"tests._check.mutants.clients.{name}", "{host}", "{port}")
    return Client(words=words, stdin=stdin, scheme=scheme, verifying=scheme == "tcp", fails=fails, warns=warns)


REFERENCE = Client(words=(PYTHON, "-m", "tests._check.client.reference", "HOST", "PORT"), verifying=True)
RIGHT = {
    "reference": REFERENCE,
    "reference told": Client(words=(*REFERENCE.words, "{msg}"), stdin=None, verifying=True),
    "reference of datagrams": Client(
        words=(PYTHON, "-m", "tests._check.client.reference_udp", "HOST", "PORT"), scheme="udp"
    ),
    "pinger": Client(
        words=(PYTHON, "-m", "tests._check.client.pinger", "HOST", "PORT"), stdin="none", scheme="udp", warns="C32"
    ),
    "halloo": Client(words=(*HALLOO, "HOST:PORT")),
    "halloo typed": Client(words=(*HALLOO, "HOST:PORT"), stdin=None),
    "halloo udp": Client(words=(*HALLOO, "udp://HOST:PORT"), scheme="udp"),
    "halloo udp typed": Client(words=(*HALLOO, "udp://HOST:PORT"), stdin=None, scheme="udp"),
    "example safe": Client(words=(PYTHON, str(EXAMPLES / "echoclient_safe.py"), "HOST", "PORT"), stdin=None),
    # It says of itself that it waits for ever, and that it shows tracebacks.
    "example": Client(
        words=(PYTHON, str(EXAMPLES / "echoclient.py"), "HOST", "PORT"),
        stdin=None,
        fails="C08 C20 C28",
        warns="C07 C12 C13",
    ),
}
WRONG = {
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
# These need a machine on which localhost has two families.
BY_NAME = {"tries_one_address": "C18", "knows_one_family": "C19"}


def verdicts(results: Iterable[Result], verdict: str) -> dict[str, str]:
    return {result.case.id: result.text for result in results if result.verdict == verdict}


def judge(client: Client, results: tuple[Result, ...]) -> None:
    said = [f"{each.case.id} {each.verdict}: {each.text}" for each in results if each.verdict not in GOOD]
    assert " ".join(sorted(verdicts(results, "FAIL"))) == client.fails, said
    assert " ".join(sorted(verdicts(results, "WARN"))) == client.warns, said
    assert not verdicts(results, "ERROR"), said


@pytest.mark.parametrize("name", ["reference", "halloo"])
def test_the_quick_cases_pass(name: str) -> None:
    judge(RIGHT[name], RIGHT[name].asked(case for case in CASES.values() if case.id in QUICK))


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_client_passes(name: str) -> None:
    judge(RIGHT[name], RIGHT[name].asked(CASES.values()))


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_client_is_failed_by_exactly_these(name: str) -> None:
    judge(WRONG[name], WRONG[name].asked(CASES.values()))


@pytest.mark.conformance
@pytest.mark.parametrize(("name", "failed"), [("reference", ""), ("halloo", ""), *BY_NAME.items()])
def test_a_name_of_two_families_is_tried_in_both(name: str, failed: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    words = RIGHT[name].words if name in RIGHT else mutant(name, "").words
    command = (*IN_BOTH_FAMILIES, str(hosts), PYTHON, "-m", "tests._check.client.families", *words)
    run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if run.returncode:
        pytest.skip(f"needs a mount namespace: {run.stderr[-200:]}")
    found = dict(line.split() for line in run.stdout.splitlines())
    assert found == {each: "FAIL" if each == failed else "PASS" for each in ("C18", "C19")}


def test_one_wrong_client_at_least_fails_each_case_that_matters() -> None:
    failed = {each for client in WRONG.values() for each in client.fails.split()} | {*BY_NAME.values()}
    assert {case.id for case in CASES.values() if case.severity != "INFO"} - failed == set()


def test_every_wrong_client_is_asked() -> None:
    assert {path.stem for path in MUTANTS.glob("*.py")} == {*WRONG, *BY_NAME}


def test_the_catalogue_is_complete() -> None:
    assert sorted(CASES) == [f"C{number:02}" for number in range(1, 35)]


def test_a_case_says_what_it_does_and_needs_cases_that_exist() -> None:
    assert all(case.description and case.passes and CASES.keys() >= {*case.needs} for case in CASES.values())


def test_a_case_is_of_streams_or_of_datagrams() -> None:
    assert all(case.schemes == ({"udp"} if case.id >= "C29" else {"tcp"}) for case in CASES.values())
