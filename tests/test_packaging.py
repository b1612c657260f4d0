"""The wheel and the sdist, built and installed as a user would: they hold what they should, and work without extras.

Needs no network: the dependencies are copied from the environment of the tests.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.command import halloo
from tests.programs import run

TOP = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?://)")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and return the folder that it unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    (archive,) = build("sdist", TOP, folder)
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return archive.with_suffix("").with_suffix("")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Build the wheel from the sdist, as pip does where it finds no wheel."""
    (archive,) = build("wheel", sdist, sdist.parent)
    return archive


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and its dependencies, without extras, into a new environment; return where its commands are."""
    base = tmp_path_factory.mktemp("environment")
    venv.create(base, symlinks=os.name != "nt")
    where = {"base": str(base), "platbase": str(base)}
    packages, scripts = (Path(sysconfig.get_path(kind, "venv", where)) for kind in ("purelib", "scripts"))
    for name in dependencies("halloo"):
        copy(metadata.distribution(name), packages)
    pip = (sys.executable, "-m", "pip", "--python", base, "install", "--no-deps", "--no-index", wheel)
    done = run(*pip)
    assert done.returncode == 0, done.stderr.decode()
    return scripts


def build(target: str, source: Path, folder: Path) -> list[Path]:
    program = f"import os; os.chdir({str(source)!r}); from hatchling.cli import hatchling; hatchling()"
    done = run(sys.executable, "-c", program, "build", "-t", target, "-d", folder)
    assert done.returncode == 0, done.stderr.decode()
    return [*folder.glob("*.tar.gz" if target == "sdist" else "*.whl")]


def dependencies(name: str) -> set[str]:
    """Return the distributions that a distribution needs, without its extras."""
    found: set[str] = set()
    names = [name]
    while names:
        needed = map(Requirement, metadata.requires(names.pop()) or ())
        names += {each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})} - found
        found.update(names)
    return found


def copy(distribution: metadata.Distribution, packages: Path) -> None:
    tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    for source in (Path(str(distribution.locate_file(top))) for top in tops):
        if source.is_dir():
            shutil.copytree(source, packages / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, packages)


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="needs a clone")
def test_the_sdist_holds_every_file_that_git_would_not_ignore(sdist: Path) -> None:
    done = run("git", "-C", TOP, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert done.returncode == 0, done.stderr.decode()
    files = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    assert files - {"PKG-INFO"} == {name for name in done.stdout.decode().split("\0") if (TOP / name).is_file()}


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_source(wheel: Path, tmp_path: Path) -> None:
    (own,) = build("wheel", TOP, tmp_path)
    assert own.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_the_package_its_types_and_its_licence_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {re.split("[/-]", name)[0] for name in names} == {"halloo"}
    assert "halloo/py.typed" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert "py3-none-any" in wheel.name  # no compiler


def test_the_page_of_an_index_has_no_dead_link(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        headers, _, page = file.read(name).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in headers.splitlines()
    assert "(`CONTRIBUTING.md`)" in page
    assert not LINK.search(page)


@pytest.mark.parametrize("command", ["halloo", "python -m halloo"])
def test_the_demo_needs_no_extra(scripts: Path, command: str) -> None:
    program, *options = command.split()
    done = run(scripts / program, *options, "demo")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Received 'Hello world'" in done.stdout


@pytest.mark.parametrize(
    ("extra", "command"),
    [("tls", "serve tls://127.0.0.1:0"), ("metrics", "serve 0 --metrics 0"), ("hdr", "ping localhost --hdr FILE")],
)
def test_what_needs_an_extra_says_so(scripts: Path, tmp_path: Path, extra: str, command: str) -> None:
    (needed,) = (each for each in metadata.requires("halloo") or () if each.endswith(f"extra == '{extra}'"))
    done = run(scripts / "halloo", *command.replace("FILE", str(tmp_path / "rtt.hlog")).split())
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().endswith(f" pip install {Requirement(needed).name}\n")
    page = halloo(command.split(maxsplit=1)[0], "--help").stdout.decode()
    assert f" needs the extra {extra}" in " ".join(page.split())


@pytest.mark.conformance
@pytest.mark.timeout(120)
def test_the_documentation_is_true_of_the_package(scripts: Path, sdist: Path) -> None:
    """Run the sdist's tests with the installed package, and with pytest from the environment of these tests."""
    tests = ["tests/test_docs.py", "tests/test_architecture.py"]
    done = subprocess.run(
        [scripts / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=sdist,
        env=os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
