"""`halloo check` as it is typed: what follows -- is a command, and everything before it is ours."""

from tests.programs import PYTHON, run

HALLOO = (PYTHON, "-m", "halloo")


def test_what_follows_two_dashes_is_the_command_with_its_own_options() -> None:
    program = "import sys; sys.exit(' '.join(sys.argv[1:]))"
    done = run(*HALLOO, "check", "server", "--only", "T01", "--", PYTHON, "-c", program, "--port", "7", "-q", "{port}")
    assert b"--port 7 -q " in done.stdout
    assert done.returncode == 1


def test_a_right_server_is_exit_code_0() -> None:
    done = run(*HALLOO, "check", "server", "--only", "tcp/T01", "-q", "--", *HALLOO, "serve", "PORT", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"1 case of a tcp server: 1 PASS")


def test_nothing_to_check_is_a_mistake() -> None:
    done = run(*HALLOO, "check", "server")
    assert done.returncode == 2
    assert done.stderr.startswith(b"halloo: name one server to check; ")


def test_a_case_that_does_not_exist_is_a_mistake() -> None:
    done = run(*HALLOO, "check", "server", "--only", "T99", "localhost")
    assert (done.returncode, done.stderr) == (2, b"halloo: 'T99' is no case of tcp; see: halloo check list\n")


def test_two_schemes_are_a_mistake() -> None:
    done = run(*HALLOO, "check", "server", "--udp", "--tls", "--", "x", "PORT")
    assert (done.returncode, done.stderr) == (2, b"halloo: --udp and --tls exclude each other; check once for each\n")


def test_all_cases_are_listed() -> None:
    done = run(*HALLOO, "check", "list")
    listed = [line.split()[0] for line in done.stdout.decode().splitlines() if not line.startswith(" ")]
    assert len(listed) == 110
    assert {line.partition("/")[0] for line in listed} == {"tcp", "udp", "client"}
