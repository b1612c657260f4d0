"""The `halloo check` command line: words after -- are the command, options before it are halloo's."""

import pytest

from halloo._cli.main import main
from tests.programs import PYTHON, run

HALLOO = (PYTHON, "-m", "halloo")


def test_words_after_two_dashes_are_the_command() -> None:
    program = "import sys; sys.exit(' '.join(sys.argv[1:]))"
    done = run(*HALLOO, "check", "server", "--only", "T01", "--", PYTHON, "-c", program, "--port", "7", "-q", "{port}")
    assert b"--port 7 -q " in done.stdout
    assert done.returncode == 1


def test_a_correct_server_gives_exit_code_0() -> None:
    done = run(*HALLOO, "check", "server", "--only", "tcp/T01", "-q", "--", *HALLOO, "serve", "PORT", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"1 case of a tcp server: 1 PASS")


def test_a_missing_server_is_a_usage_error() -> None:
    done = run(*HALLOO, "check", "server")
    assert done.returncode == 2
    assert done.stderr.startswith(b"halloo: name one server to check; ")


def test_an_unknown_case_is_a_usage_error() -> None:
    done = run(*HALLOO, "check", "server", "--only", "T99", "localhost")
    assert (done.returncode, done.stderr) == (2, b"halloo: 'T99' is no case of tcp; see: halloo check list\n")


def test_two_schemes_are_a_usage_error() -> None:
    done = run(*HALLOO, "check", "server", "--udp", "--tls", "--", "x", "PORT")
    assert (done.returncode, done.stderr) == (2, b"halloo: --udp and --tls exclude each other; check once for each\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["localhost", "--udp"], "--udp is for a command, and an address is checked; leave it out"),
        (["localhost", "--port", "9"], "--port is for a command, and an address is checked; leave it out"),
        (["localhost", "--each", "*"], "--each is for a command, and an address is checked; leave it out"),
        (["localhost", "--resume"], "--resume is for several folders; give --each as well"),
        (
            ["--allow-remote", "h", "--", "x"],
            "--allow-remote is for an address, and a command is checked; leave it out",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_an_option_that_would_have_no_effect_is_a_usage_error(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", "server", *words])
    assert capsys.readouterr().err == f"halloo: {message}\n"


def test_list_prints_all_cases() -> None:
    done = run(*HALLOO, "check", "list")
    listed = [line.split()[0] for line in done.stdout.decode().splitlines() if not line.startswith(" ")]
    assert len(listed) == 110
    assert {line.partition("/")[0] for line in listed} == {"tcp", "udp", "client"}
