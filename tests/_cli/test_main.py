"""The command as a whole, as a process of its own: its errors, its help, its ends."""

import dataclasses
import inspect
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import halloo
from halloo._cli import commands as verbs
from halloo._cli.main import VERBS
from tests.peers import unused_datagram_port, unused_port
from tests.programs import PYTHON, run

HALLOO = (PYTHON, "-m", "halloo")


def failed(*arguments: str) -> tuple[int, str]:
    """Give the exit code, and what was said; an error says it in one line, and nothing on standard output."""
    result = run(*HALLOO, *arguments)
    said = result.stderr.decode()
    assert (result.stdout, said.count("\n"), said[-1:]) == (b"", 1, "\n"), said
    return result.returncode, said.rstrip("\n")


# Errors: one line, an exit code, no traceback

USAGE = [
    (
        ["serve", "localhost:99999"],
        "'localhost:99999' has no valid port; a port is a number from 0 to 65535",
    ),
    (
        ["connect", "::x"],
        "'::x' is not an IPv6 address; an IPv6 address with a port is written [::1]:8888",
    ),
    (
        ["connect", "[::1"],
        "'[::1' is not an address; an IPv6 address with a port is written [::1]:8888",
    ),
    (
        ["send", "two words", "x"],
        "'two words' is not an address; write host, host:8888, [::1]:8888, 8888 or udp://host:8888",
    ),
    (
        ["connect", "http://localhost"],
        "'http://localhost' has an unknown scheme; use tcp://, udp://, tls:// or unix:/path",
    ),
    (
        ["connect", "localhost:0"],
        "port 0 is for servers, which then take a free one; name the port that the server printed",
    ),
    (
        ["connect", "-W", "soon"],
        "'soon' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number",
    ),
    (
        ["connect", "localhost", "--size", "1KiB"],
        "--size is for datagrams; write udp:// before the host, or leave it out",
    ),
    (
        ["connect", "udp://localhost", "--size", "64KiB"],
        "--size is 1 to 65507 bytes, not 65536; a datagram carries no more; or use tcp://",
    ),
    (
        ["serve", "udp://0", "--max-connections", "5"],
        "--max-connections is for connections, and udp:// has none; leave it out, or serve tcp:// as well",
    ),
    (
        ["serve", "0", "--any-port"],
        "--any-port is for udp://, and no address is; leave it out",
    ),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=[" ".join(arguments) for arguments, _ in USAGE])
def test_what_cannot_be_is_an_error_of_usage(arguments: list[str], said: str) -> None:
    assert failed(*arguments) == (2, f"halloo: {said}")


MISUSED = {
    "unknown verb": ["frobnicate"],
    "unknown flag": ["serve", "--frobnicate"],
    "unknown flag first": ["--frobnicate"],
    "missing argument": ["send"],
    "missing value": ["connect", "-W"],
    "unknown choice": ["serve", "--log", "xml"],
    "argument too many": ["demo", "now"],
    "port that is none": ["connect", "localhost", "echo"],
}


@pytest.mark.parametrize("arguments", MISUSED.values(), ids=MISUSED)
def test_a_misused_command_names_the_help_to_read(arguments: list[str]) -> None:
    verb = f"{arguments[0]} " if arguments[0] in VERBS else ""
    code, said = failed(*arguments)
    assert code == 2
    assert said.startswith("halloo: ")
    assert said.endswith(f"; see: halloo {verb}--help")


def test_a_verb_misspelt_is_put_right() -> None:
    assert 'did you mean "connect"?' in failed("conect")[1].lower()


@pytest.mark.parametrize("arguments", [["localhost:99999"], ["localhost", "99999"], ["localhost", "--port", "99999"]])
def test_a_port_too_high_is_an_error_of_usage_wherever_it_stands(arguments: list[str]) -> None:
    code, said = failed("connect", *arguments)
    assert (code, said.endswith("a port is a number from 0 to 65535")) == (2, True)


@pytest.mark.parametrize("verb", [["connect"], ["send", "--reply"]], ids=" ".join)
def test_nothing_listening_is_the_peer_s_error(verb: list[str]) -> None:
    port = unused_port()
    fact = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused)"
    assert failed(*verb, f"127.0.0.1:{port}") == (1, f"{fact}; start a server there with: halloo serve {port}")


@pytest.mark.parametrize("verb", [["connect"], ["send"], ["send", "--reply"]], ids=" ".join)
def test_nobody_to_hear_a_datagram_is_the_peer_s_error(verb: list[str]) -> None:
    port = unused_datagram_port()
    result = run(*HALLOO, *verb, f"udp://localhost:{port}", input=b"hello")
    fact = f"halloo: nothing is listening on localhost:{port} (connection refused)"
    said = f"{fact}; start a server there with: halloo serve udp://{port}\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", said)


# Longer than any name may be: this is known without asking a name server.
@pytest.mark.parametrize("host", [".".join(["nowhere"] * 40), "x" * 64], ids=["long name", "long label"])
def test_an_unknown_host_is_the_peer_s_error(host: str) -> None:
    fact = f"halloo: no address is known for '{host}'"
    assert failed("connect", host) == (1, f"{fact}; check the spelling, or give an IP address")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("verb", ["serve", "receive"])
def test_a_port_that_is_taken_is_named_with_its_holder(verb: str, taken: int) -> None:
    by = f" by {psutil.Process().name()} (pid {os.getpid()})" if sys.platform == "linux" else ""
    fact = f"halloo: port {taken} on 127.0.0.1 is taken{by}"
    code, said = failed(verb, str(taken))
    assert (code, said.partition("; ")[0]) == (2, fact)
    assert said.partition("; ")[2].startswith("stop it, or choose another: halloo ")


def test_a_port_that_needs_a_right_is_named_with_the_next_step() -> None:
    fact = "halloo: cannot listen on 127.0.0.1:80 (permission denied)"
    remedy = "ports below 1024 belong to the administrator, choose another: halloo serve 8080"
    result = run(*without_the_right(), *HALLOO, "serve", "127.0.0.1:80")
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", f"{fact}; {remedy}\n")


def without_the_right() -> tuple[str, ...]:
    """Say what to write before a command so that it may not take a port below 1024, where the system asks for that."""
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) <= 80:
        pytest.skip("this system lets everybody take ports below 1024")
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root, and no setpriv to become less with")
    # Not another user: that one may not be allowed to read this interpreter.
    return ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    fact = (
        "halloo: cannot listen on 192.0.2.1:0: it is no address of this machine"  # 192.0.2.0/24 is nobody's, RFC 5737
    )
    remedy = "name one of its own addresses, or every interface with: halloo serve :8888"
    assert failed("serve", "192.0.2.1:0") == (2, f"{fact}; {remedy}")


def test_debug_gives_the_traceback() -> None:
    result = run(*HALLOO, "--debug", "connect", f"127.0.0.1:{unused_port()}")
    assert result.returncode == 1
    assert result.stderr.startswith(b"Traceback (most recent call last):\n")
    assert b"halloo.errors.Refused: nothing is listening on " in result.stderr.splitlines()[-1]


def test_debug_keeps_the_exit_code() -> None:
    assert run(*HALLOO, "--debug", "serve", "localhost:99999").returncode == 2


def test_an_argument_cannot_command_the_terminal() -> None:
    for arguments in (["\x1b[31m"], ["serve", "--\x1b[31m"], ["connect", "\x1b[31m"]):
        assert "\x1b" not in failed(*arguments)[1]


# Standard streams that are not as usual


def redirected(how: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    if not (shell := shutil.which("sh")):
        pytest.skip("needs sh")
    return run(shell, "-c", f'"$@" {how}', "sh", *HALLOO, *arguments)


@pytest.fixture
def echo() -> Iterator[str]:
    with halloo.serving("127.0.0.1:0") as server:
        yield server.address.place


@pytest.mark.parametrize(
    ("verb", "closed"),
    [("connect", "<&-"), ("connect", ">&-"), ("send", "<&-"), ("send", ">&-")],
)
def test_a_stream_that_is_closed_is_no_traceback(verb: str, closed: str, echo: str) -> None:
    result = redirected(closed, verb, echo)
    assert b"Traceback" not in result.stderr
    assert result.stderr.count(b"\n") <= 1


@pytest.mark.parametrize("arguments", [["--help"], ["demo"]], ids=" ".join)
def test_nobody_need_listen_to_what_is_said(arguments: list[str]) -> None:
    assert b"Traceback" not in redirected(">&-", *arguments).stderr


def test_errors_never_go_where_data_belong() -> None:
    result = redirected("2>&-", "connect", f"127.0.0.1:{unused_port()}")
    assert (result.returncode, result.stdout) == (1, b"")


def test_a_full_disk_is_a_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    result = redirected(">/dev/full", "demo")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)


def test_an_output_that_has_no_such_letters_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run(*HALLOO, "demo")
    assert (result.returncode, result.stderr) == (0, b"")


# Help


@pytest.fixture(scope="module")
def overview() -> str:
    return run(*HALLOO, "--help").stdout.decode()


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_tells_each_verb_in_a_line(verb: str, overview: str) -> None:
    summary = (inspect.getdoc(getattr(verbs, verb)) or "").partition("\n")[0]
    assert f" {verb} {summary}" in " ".join(overview.split())


def test_the_help_tells_the_verbs_in_the_order_in_which_they_are_met(overview: str) -> None:
    assert sorted(VERBS, key=lambda verb: overview.index(f"  {verb} ")) == list(VERBS)


def test_no_arguments_are_a_question_for_help(overview: str) -> None:
    result = run(*HALLOO)
    assert (result.returncode, result.stdout.decode()) == (0, overview)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_s_help_names_all_its_parameters(verb: str) -> None:
    result = run(*HALLOO, verb, "--help")
    said = result.stdout.decode()
    assert (result.returncode, result.stderr) == (0, b"")
    for parameter in inspect.signature(getattr(verbs, verb)).parameters.values():
        optional = parameter.kind is parameter.KEYWORD_ONLY
        for name in words(parameter):
            assert f"--{name.replace('_', '-')}" in said if optional else name.upper() in said


def words(parameter: inspect.Parameter) -> list[str]:
    """Give the names that a parameter goes by: a group's are those of its fields."""
    if dataclasses.is_dataclass(parameter.annotation):
        return [field.name for field in dataclasses.fields(parameter.annotation)]
    return [parameter.name]


def test_the_version_is_that_of_the_package() -> None:
    result = run(*HALLOO, "--version")
    assert (result.returncode, result.stdout.decode()) == (0, f"halloo {halloo.__version__}\n")


def test_a_reader_that_has_left_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        result = subprocess.run([*HALLOO, "--help"], stdout=nobody, stderr=subprocess.PIPE, timeout=20, check=False)
    assert (result.returncode, result.stderr) == (1, b"")


# Completion


def test_completion_is_installed_in_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run(*HALLOO, "--install-completion", "--shell", "bash")
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / ".local/share/bash-completion/completions/halloo").is_file()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_the_verbs(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "script"
    assert run(*HALLOO, "--install-completion", "--shell", shell, "--output", script).returncode == 0
    assert all(verb in script.read_text() for verb in VERBS)


def test_bash_completes_a_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (bash := shutil.which("bash")):
        pytest.skip("needs bash")
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "script"
    run(*HALLOO, "--install-completion", "--shell", "bash", "--output", script)
    asked = '. "$0"; COMP_WORDS=(halloo se); COMP_CWORD=1; _halloo; echo "${COMPREPLY[@]}"'
    assert sorted(run(bash, "-c", asked, script).stdout.split()) == [b"send", b"serve"]
