"""halloo in all its configurations, and the reference server, pass every case.

This proves that the cases can be passed. `make check-all` runs the slow cases and the other configurations.
"""

from collections.abc import Iterator

import pytest

from halloo._check.case import QUICK, AnyCase
from halloo._check.catalogue import cases
from halloo._check.runner import RunOptions, run_case
from halloo._check.spec import ServerSpec
from tests.programs import PYTHON

HALLOO = (PYTHON, "-m", "halloo", "serve", "-q")
# As on a system without epoll; readv and fork are kept, so that only the poller differs.
PORTABLE = (PYTHON, "-c", "import select; del select.epoll; from halloo._cli.main import main; main()", "serve", "-q")
LIMITS = (
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-bytes", "10GB", "--rate-limit", "10GB/s"),
    *("--max-connections", "100k", "--max-per-host", "100k", "--max-memory", "1GiB"),
)
DEFAULTS = ("halloo", "halloo, datagrams")
SPECS = {
    "halloo": ServerSpec(command=(*HALLOO, "PORT")),
    "halloo, workers": ServerSpec(command=(*HALLOO, "PORT", "--workers", "2")),
    "halloo, limits": ServerSpec(command=(*HALLOO, "PORT", *LIMITS)),
    "halloo, tls": ServerSpec(scheme="tls", command=(*HALLOO, "tls://PORT")),
    "halloo, unix": ServerSpec(scheme="unix", command=(*HALLOO, "unix:{path}")),
    "halloo, datagrams": ServerSpec(scheme="udp", command=(*HALLOO, "udp://PORT")),
    "halloo, datagrams and streams everywhere": ServerSpec(scheme="udp", command=(*HALLOO, "udp://:PORT", ":PORT")),
    "halloo, datagrams, workers": ServerSpec(scheme="udp", command=(*HALLOO, "udp://PORT", "--workers", "2")),
    "halloo, portable poller": ServerSpec(command=(*PORTABLE, "PORT")),
    "halloo, datagrams, portable poller": ServerSpec(scheme="udp", command=(*PORTABLE, "udp://PORT")),
    "reference": ServerSpec(command=(PYTHON, "-m", "tests._check.reference", "PORT")),
}
LONG_FORM = {"T25", "T50", "T53"}
WAIT = {"T02", "T06", "T08", "T11", "U05"}  # of the quick cases those that take more than about a second
MARGIN = 30  # seconds in addition to those of the case, for the start on a busy machine


def parameters(*, longer: bool = False) -> Iterator[object]:
    for name, spec in SPECS.items():
        for case in cases():
            if case.id[0] == "C" or not case.runs_over(spec.scheme):
                continue
            if longer and (case.id not in LONG_FORM or (case.severity == "INFO" and name not in DEFAULTS)):
                continue
            marks = [pytest.mark.timeout(case.kill + MARGIN)]
            if longer or case.id in WAIT or name not in DEFAULTS or case.id not in QUICK:
                marks.append(pytest.mark.conformance)
            yield pytest.param(spec, case, marks=marks, id=f"{name}-{case.id}-{case.name}")


def check_passes(spec: ServerSpec, case: AnyCase, *, longer: bool = False) -> None:
    result = run_case(case, spec, RunOptions(seed=1, longer=longer))
    if result.verdict == "SKIP":
        pytest.skip(result.text)
    assert result.verdict in ("PASS", "INFO"), (
        f"{case.path} {case.name}: {case.description} {result.verdict}: {result.text}"
    )


@pytest.mark.parametrize(("spec", "case"), [*parameters()])
def test_it_passes(spec: ServerSpec, case: AnyCase) -> None:
    check_passes(spec, case)


@pytest.mark.parametrize(("spec", "case"), [*parameters(longer=True)])
def test_it_passes_the_long_form(spec: ServerSpec, case: AnyCase) -> None:
    check_passes(spec, case, longer=True)
