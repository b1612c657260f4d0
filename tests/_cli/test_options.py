"""The options that several verbs share: what a person writes, and what a command gets."""

import pytest
from cyclopts import App, CycloptsError

from halloo._cli.options import Families, File, Quiet, Timeout
from halloo.errors import UnitError, UsageError

BOTH = Families()


def told(*arguments: str) -> tuple[float, bool, int | None]:
    """Read the options as a verb would."""
    app = App(print_error=False, exit_on_error=False, result_action="return_value")

    @app.default
    def verb(*, wait: Timeout = 5, quiet: Quiet = False, families: Families = BOTH) -> tuple[float, bool, int | None]:
        return wait, quiet, families.one

    got: tuple[float, bool, int | None] = app(arguments)
    return got


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("1.5s", 1.5), ("2", 2), ("1m30s", 90), ("250us", 0.00025), ("0", 0)]
)
def test_a_duration_is_read_into_seconds(text: str, seconds: float) -> None:
    assert told("-W", text)[0] == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "5 parsecs", "1e3", "nan", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises((CycloptsError, UnitError)):
        told(f"--timeout={text}")


def test_a_duration_has_a_default() -> None:
    assert told()[0] == 5


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_a_switch_is_turned_on(flag: str) -> None:
    assert told(flag)[1]


@pytest.mark.parametrize("flag", ["--no-quiet", "--no-ipv4"])
def test_a_switch_is_never_turned_off(flag: str) -> None:
    with pytest.raises(CycloptsError):
        told(flag)


@pytest.mark.parametrize(
    ("flags", "version"),
    [([], None), (["-4"], 4), (["-6"], 6), (["--ipv4"], 4), (["--ipv6"], 6), (["-4", "-6"], None)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_family_is_the_one_asked_for(flags: list[str], version: int | None) -> None:
    assert told(*flags)[2] == version


def written_to(*arguments: str) -> str | None:
    """Read where a verb would write."""
    app = App(print_error=False, exit_on_error=False, result_action="return_value")

    @app.default
    def verb(*, json: File = None, quiet: Quiet = False) -> str | None:
        assert not quiet
        return json

    place: str | None = app(arguments)
    return place


@pytest.mark.parametrize("arguments", [["--json", "-"], ["--json=-"]], ids=" ".join)
def test_a_hyphen_alone_is_standard_output(arguments: list[str]) -> None:
    assert written_to(*arguments) == "-"


def test_an_option_where_a_file_belongs_is_refused() -> None:
    with pytest.raises((CycloptsError, UsageError)) as met:
        written_to("--json", "-q")
    said = str(met.value.__cause__ if isinstance(met.value, CycloptsError) else met.value)
    assert said == "'-q' is an option, and a file was expected; write ./-q if it is one"
