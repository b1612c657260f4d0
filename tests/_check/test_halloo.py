"""halloo in all its configurations, and the reference server, pass every case.

This proves that the cases can be passed. `make check-all` runs the slow cases and the other configurations.
"""

from collections.abc import Collection
from pathlib import Path

import pytest

from halloo._check.case import QUICK
from halloo._check.catalogue import cases as all_cases
from halloo._check.execution import RunOptions, run_case
from halloo._check.scheduling import run_all
from halloo._check.spec import ServerSpec, parse_transform
from tests.programs import PYTHON

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HALLOO = (PYTHON, "-m", "halloo", "serve", "-q")
# As on a system without epoll; readv and fork are kept, so that only the poller differs.
PORTABLE = (PYTHON, "-c", "import select; del select.epoll; from halloo._cli.main import main; main()", "serve", "-q")
CAPITALS = (PYTHON, "-c", "import halloo, sys; halloo.serve(sys.argv[1], respond=bytes.upper, quiet=True)")
LIMITS = (
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-bytes", "10GB", "--rate-limit", "10GB/s"),
    *("--max-connections", "100k", "--max-per-host", "100k", "--max-memory", "1GiB"),
)
SPECS = {
    "halloo": ServerSpec(command=(*HALLOO, "PORT")),
    "halloo, workers": ServerSpec(command=(*HALLOO, "PORT", "--workers", "2")),
    "halloo, limits": ServerSpec(command=(*HALLOO, "PORT", *LIMITS)),
    "halloo, tls": ServerSpec(scheme="tls", command=(*HALLOO, "tls://PORT")),
    "halloo, capitals": ServerSpec(command=(*CAPITALS, "PORT"), expect=parse_transform("upper")),
    "halloo, unix": ServerSpec(scheme="unix", command=(*HALLOO, "unix:{path}")),
    "halloo, datagrams": ServerSpec(scheme="udp", command=(*HALLOO, "udp://PORT")),
    "halloo, datagrams and streams everywhere": ServerSpec(scheme="udp", command=(*HALLOO, "udp://:PORT", ":PORT")),
    "halloo, datagrams, workers": ServerSpec(scheme="udp", command=(*HALLOO, "udp://PORT", "--workers", "2")),
    "halloo, portable poller": ServerSpec(command=(*PORTABLE, "PORT")),
    "halloo, datagrams, portable poller": ServerSpec(scheme="udp", command=(*PORTABLE, "udp://PORT")),
    "reference": ServerSpec(command=(PYTHON, "-m", "tests._check.reference", "PORT")),
}
DEFAULTS = ("halloo", "halloo, datagrams")
LONG_FORM = {"T25", "T50", "T53"}
SLOW = {"T02", "T06", "T08", "T11", "U05"}  # of the quick cases those that take more than about a second


def check_passes(name: str, chosen: Collection[str], *, longer: bool = False, jobs: int = 2) -> None:
    """Check that a server passes these cases; those that cannot be run here are skipped."""
    spec, options = SPECS[name], RunOptions(seed=1, longer=longer)
    servers = (case for case in all_cases() if case.id[0] != "C" and case.runs_over(spec.scheme))
    cases = [case for case in servers if case.id in chosen]
    results = run_all(cases, lambda case: run_case(case, spec, options), jobs=jobs)
    assert {each.case.id: each.text for each in results if each.verdict not in ("PASS", "INFO", "SKIP")} == {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", DEFAULTS)
def test_it_passes_the_quick_cases(name: str) -> None:
    check_passes(name, QUICK - SLOW, jobs=4)


@pytest.mark.conformance
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SPECS)
def test_it_passes_every_case(name: str) -> None:
    check_passes(name, {case.id for case in all_cases()})


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "scheme", "level"), [("echoserver.py", "tcp", 1), ("udp_server.py", "udp", 3)])
def test_an_example_passes_every_case_of_its_level(name: str, scheme: str, level: int) -> None:
    spec = ServerSpec(scheme=scheme, command=(PYTHON, str(EXAMPLES / name), "PORT"))
    chosen = [case for case in all_cases() if case.id[0] == scheme[0].upper() and case.level <= level]
    results = run_all(chosen, lambda case: run_case(case, spec, RunOptions()), jobs=2)
    assert {each.case.id: each.text for each in results if each.verdict not in ("PASS", "INFO")} == {}


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SPECS)
def test_it_passes_the_long_forms(name: str) -> None:
    info = {case.id for case in all_cases() if case.severity == "INFO"}
    check_passes(name, LONG_FORM if name in DEFAULTS else LONG_FORM - info, longer=True)
