"""The `halloo check` command line: words after -- are the command, options before it are halloo's."""

import json
import shlex
from pathlib import Path

from tests.command import halloo
from tests.programs import PYTHON, Terminal

HALLOO = (PYTHON, "-m", "halloo")


def test_words_after_two_dashes_are_the_command() -> None:
    program = "import sys; sys.exit(' '.join(sys.argv[1:]))"
    done = halloo("check", "server", "--only", "T01", "--", PYTHON, "-c", program, "--port", "7", "-q", "{port}")
    assert b"--port 7 -q " in done.stdout
    assert done.returncode == 1


def test_a_correct_server_gives_exit_code_0() -> None:
    done = halloo("check", "server", "--only", "tcp/T01", "-q", "--", *HALLOO, "serve", "PORT", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"1 case of a tcp server: 1 PASS")


# What is special to str.format, %, rich, Markdown, XML, re.sub, spreadsheets and shells, and to halloo itself.
ODD = (
    *("{}", "{0}", "{port!r}", "{msg}", "{dir}", "{path}", "{x: {y}}", "%s %(x)d", "[bold]x[/]", "|`*_", "<b>&"),
    *("\\1\\g<0>", "=1+1", "$PORT", "${PORT}", "${port}", "f() { x; }", "{'a': {}}", ""),
)
KINDS = ("json", "html", "csv", "junit", "markdown", "gradescope")


def test_text_of_the_user_and_of_the_program_is_no_template(tmp_path: Path) -> None:
    program = "import sys; print(*sys.argv[2:]); sys.exit('[red]{0} %s \\\\1')"
    files = [word for kind in KINDS for word in (f"--{kind}", str(tmp_path / kind))]
    done = halloo("check", "server", "--only", "T01", *files, "--", PYTHON, "-c", program, "{port}", *ODD)
    assert (done.returncode, done.stderr) == (1, b"")
    report = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert shlex.split(report["results"][0]["repeat"])[-len(ODD) - 1 :] == ["{port}", *ODD]
    assert all(text in report["summary"]["trouble"] for text in ("[red]{0} %s", " ".join(ODD[:6])))
    for kind in KINDS:
        assert "{0} %s" in (tmp_path / kind).read_text(encoding="utf-8").replace(r"\{0\}", "{0}")


def test_text_of_the_program_is_no_markup_on_a_terminal() -> None:
    program = "import sys; sys.exit('[red]{0}[/] :smile: %s')"
    with Terminal(*HALLOO, "check", "server", "--only", "T01", "--", PYTHON, "-c", program, "{port}", "{}") as terminal:
        assert b"[red]{0}[/] :smile: %s" in terminal.read_to_end()
        assert terminal.wait() == 1


USAGE_ERRORS = {
    "": "name one server to check; ",
    "--only T99 localhost": "'T99' is no case of tcp; see: halloo check list\n",
    "--udp --tls -- x PORT": "--udp and --tls exclude each other; check once for each\n",
    "localhost --udp": "--udp is for a command, and an address is checked; leave it out\n",
    "localhost --stdin none": "--stdin is for a command, and an address is checked; leave it out\n",
    "localhost --start 60s": "--start is for a command, and an address is checked; leave it out\n",
    "localhost --port 9": "--port is for a command, and an address is checked; leave it out\n",
    "localhost --each *": "--each is for a command, and an address is checked; leave it out\n",
    "localhost --resume": "--resume is for several folders; give --each as well\n",
    "--allow-remote h -- x": "--allow-remote is for an address, and a command is checked; leave it out\n",
}


def test_options_that_would_have_no_effect_or_exclude_each_other_are_a_usage_error() -> None:
    for line, message in USAGE_ERRORS.items():
        done = halloo("check", "server", *line.split())
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"halloo: {message}")


def test_list_prints_all_cases() -> None:
    done = halloo("check", "list")
    listed = [line.split()[0] for line in done.stdout.decode().splitlines() if not line.startswith(" ")]
    assert len(listed) == 110
    assert {line.partition("/")[0] for line in listed} == {"tcp", "udp", "client"}
