"""`halloo demo`, run as a separate process."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from halloo._client.demo import halloo_command
from tests.programs import PYTHON, run

DEMO = (PYTHON, "-m", "halloo", "demo")


def test_the_demo_shows_both_sides_within_five_seconds_and_needs_none_of_the_extras() -> None:
    without = "import sys; sys.modules.update(dict.fromkeys(('prometheus_client', 'trustme', 'hdrh')))"
    program = f"{without}; from halloo._cli.main import main; sys.argv = ['halloo', 'demo']; main()"
    result = run(PYTHON, "-c", program, timeout=5)
    lines = result.stdout.decode().splitlines()
    assert (result.returncode, result.stderr) == (0, b"")
    assert lines[0].startswith("server: listening on tcp://127.0.0.1:")
    assert "client: Send:Hello world" in lines
    assert "client: Received 'Hello world'" in lines
    assert lines[-3] == "4 of 4 messages were echoed unchanged"
    assert lines[-2].startswith("next: ")
    assert lines[-2].endswith("halloo serve")
    assert lines[-1].startswith("and in another terminal: ")
    assert lines[-1].endswith("halloo connect localhost")


@pytest.mark.skipif(not shutil.which("sh"), reason="needs sh")
def test_the_demo_needs_no_input_and_no_terminal() -> None:
    assert run("sh", "-c", '"$@" <&- >/dev/null', "sh", *DEMO, timeout=5).returncode == 0


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a `halloo` program into a folder that is not on PATH; return that folder."""
    name = "halloo.exe" if os.name == "nt" else "halloo"
    folder = tmp_path / "some env" / "bin"
    folder.mkdir(parents=True)
    (folder / name).write_text("")
    (folder / name).chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_path", {"scripts": str(folder)}.get)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_next_command_is_the_name_where_it_is_on_path(install: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(install))
    assert halloo_command() == "halloo"


@pytest.mark.skipif(os.name == "nt", reason="quotes as a POSIX shell needs them")
def test_the_next_command_is_a_path_where_the_name_is_not_on_path(
    install: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert halloo_command() == "'some env/bin/halloo'"
    monkeypatch.chdir(install)
    assert halloo_command() == shlex.quote(str(install / "halloo"))
    monkeypatch.chdir("/")
    assert halloo_command() == shlex.quote(str(install / "halloo").removeprefix("/"))


@pytest.mark.skipif(os.name == "nt", reason="quotes as a POSIX shell needs them")
def test_the_next_command_is_the_module_where_no_program_is_installed(install: Path) -> None:
    (install / "halloo").unlink()
    assert halloo_command() == shlex.join([sys.executable, "-m", "halloo"])


def test_the_next_command_of_this_installation_runs() -> None:
    done = subprocess.run(f"{halloo_command()} --version", shell=True, capture_output=True, check=False)  # noqa: S602 - as a reader does
    assert (done.returncode, done.stderr) == (0, b"")
