"""halloo passes its own check at the highest level, however it is started; and so does the reference.

That proves the cases can be passed, and halloo with them. Cases that wait, and what is asked again of other
configurations, are run by `make check-all`.
"""

from collections.abc import Iterator

import pytest

from halloo._check.case import QUICK, Case
from halloo._check.catalogue import cases
from halloo._check.runner import RunOptions, ask
from halloo._check.spec import ServerSpec
from tests.programs import PYTHON

HALLOO = (PYTHON, "-m", "halloo", "serve", "-q")
# As on a system that has no epoll; its readv and fork are left, so that it is the poller alone that differs.
PORTABLE = (PYTHON, "-c", "import select; del select.epoll; from halloo._cli.main import main; main()", "serve", "-q")
LIMITS = (
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-bytes", "10GB", "--rate-limit", "10GB/s"),
    *("--max-connections", "100k", "--max-per-host", "100k", "--max-memory", "1GiB"),
)
PLAIN = ("halloo", "halloo, datagrams")
SUBJECTS = {
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
MARGIN = 30  # seconds beside those of the case, for a start on a busy machine


def questions(*, longer: bool = False) -> Iterator[object]:
    for name, subject in SUBJECTS.items():
        for case in cases():
            if case.id[0] == "C" or subject.scheme not in case.schemes:
                continue
            if longer and (not case.longer or (case.severity == "INFO" and name not in PLAIN)):
                continue
            marks = [pytest.mark.timeout(case.kill + MARGIN)]
            if longer or case.waits or name not in PLAIN or case.id not in QUICK:
                marks.append(pytest.mark.conformance)
            yield pytest.param(subject, case, marks=marks, id=f"{name}-{case.id}-{case.name}")


def passes(subject: ServerSpec, case: Case, *, longer: bool = False) -> None:
    result = ask(case, subject, RunOptions(seed=1, longer=longer))
    if result.verdict == "SKIP":
        pytest.skip(result.text)
    assert result.verdict in ("PASS", "INFO"), f"{case.path} {case.name}: {case.does} {result.verdict}: {result.text}"


@pytest.mark.parametrize(("subject", "case"), [*questions()])
def test_it_passes(subject: ServerSpec, case: Case) -> None:
    passes(subject, case)


@pytest.mark.parametrize(("subject", "case"), [*questions(longer=True)])
def test_it_passes_the_longer_form(subject: ServerSpec, case: Case) -> None:
    passes(subject, case, longer=True)
