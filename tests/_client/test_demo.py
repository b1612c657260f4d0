"""`halloo demo`, as a process of its own."""

import shutil

import pytest

from tests.programs import PYTHON, run

DEMO = (PYTHON, "-m", "halloo", "demo")


def test_the_demo_shows_both_sides_and_ends_within_five_seconds() -> None:
    result = run(*DEMO, timeout=5)
    said = result.stdout.decode().splitlines()
    assert (result.returncode, result.stderr) == (0, b"")
    assert said[0].startswith("server: listening on tcp://127.0.0.1:")
    assert "client: Send:Hello world" in said
    assert "client: Received 'Hello world'" in said
    assert said[-1] == "4 of 4 messages came back as they went"


@pytest.mark.skipif(not shutil.which("sh"), reason="needs sh")
def test_the_demo_needs_no_input_and_no_terminal() -> None:
    assert run("sh", "-c", '"$@" <&- >/dev/null', "sh", *DEMO, timeout=5).returncode == 0
