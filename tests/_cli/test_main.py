"""The command: its errors, help, exit codes and completion."""

import dataclasses
import inspect
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
from cyclopts import App

from halloo import Server, __version__
from halloo._cli.main import COMMANDS, main
from halloo.errors import UsageError
from tests.command import halloo
from tests.peers import unused_datagram_port, unused_port
from tests.programs import PYTHON, run

HALLOO = (PYTHON, "-m", "halloo")


def failed(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the message: one line on standard error, and nothing on standard output."""
    result = halloo(*arguments)
    message = result.stderr.decode()
    assert (result.stdout, message.count("\n"), message[-1:]) == (b"", 1, "\n"), message
    return result.returncode, message.rstrip("\n")


def function(command: str) -> Callable[..., int]:
    found: Callable[..., int] = getattr(import_module(COMMANDS[command]), command)
    return found


# Errors: one line, an exit code, no traceback

USAGE_ERRORS = {
    "serve localhost:99999": "'localhost:99999' has no valid port; a port is a number from 0 to 65535",
    "connect localhost:99999": "'localhost:99999' has no valid port; a port is a number from 0 to 65535",
    "connect localhost:echo": "'localhost:echo' has no valid port; a port is a number from 0 to 65535, not a name",
    "connect localhost 99999": "port must be 0 to 65535, not 99999",
    "connect localhost --port 99999": "port must be 0 to 65535, not 99999",
    "connect localhost:0": "port 0 is for servers, which then take a free one; name the port that the server printed",
    "connect ::x": "'::x' is not an IPv6 address; an IPv6 address with a port is written [::1]:8888",
    "connect [::1": "'[::1' is not an address; an IPv6 address with a port is written [::1]:8888",
    "send 'two words' x": ("'two words' is not an address; write host, host:8888, [::1]:8888, 8888 or udp://host:8888"),
    "connect http://localhost": "'http://localhost' has an unknown scheme; use tcp://, udp://, tls:// or unix:/path",
    "connect tcp://localhost:9/": "'tcp://localhost:9/' has a path, and only unix: has one; leave out '/'",
    "connect ./echo": "'./echo' is a path; a Unix socket is written unix:./echo",
    "connect /run/echo": "'/run/echo' is a path; a Unix socket is written unix:/run/echo",
    "connect -W soon": "--timeout 'soon' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number",
    "connect localhost -W -1": (
        "--timeout '-1' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"
    ),
    "serve --max-bytes many": "--max-bytes 'many' is not a size; write 500, 10k, 64KiB, 1.5MB or max",
    "serve --allow everyone": "'everyone' is not a network; write 10.0.0.0/8, fd00::/8 or one address",
    "serve --allow 10.0.0.0/8 fd00::/8 :9000": (
        "'fd00::/8' is a network, not an address; networks are for --allow and --deny of a server"
    ),
    "check server localhost --jobs 0": "--jobs must be at least 1, not 0",
    "check server localhost 9": (
        "unexpected argument: '9'; a port is part of the address, as in localhost:9; see: halloo check server --help"
    ),
    "connect localhost --size 1KiB": "--size is for datagrams; write udp:// before the host, or leave it out",
    "connect udp://localhost --size 64KiB": (
        "--size must be 1 to 65507 bytes, not 65536; a datagram carries no more; or use tcp://"
    ),
    "serve udp://0 --max-connections 5": (
        "--max-connections is for connections, and udp:// has none; leave it out, or serve tcp:// as well"
    ),
    "serve 0 --any-port": "--any-port is for udp://, and no address is; leave it out",
    "serve localhost 9000": "9000 after 'localhost' would be another address, localhost:9000; write localhost:9000",
    "serve 0.0.0.0 9000": (
        "9000 after '0.0.0.0' would be another address, localhost:9000; "
        "write 0.0.0.0:9000, or localhost:9000 if that is meant"
    ),
    "ping tls://::1 443": (
        "443 after 'tls://::1' would be another address, localhost:443; "
        "write tls://[::1]:443, or localhost:443 if that is meant"
    ),
    "connect tls://localhost:9 --key key.pem": ("--key needs the certificate that it belongs to; give --cert as well"),
    "connect tls://localhost:9 --insecure --ca ca.pem": (
        "--insecure contradicts another option; give --ca or --insecure, not both"
    ),
    # 192.0.2.0/24 is reserved for documentation (RFC 5737).
    "serve 192.0.2.1:0": (
        "cannot listen on 192.0.2.1:0: it is not an address of this machine; "
        "name one of its own addresses, or every interface, as in :8888"
    ),
}


def test_impossible_arguments_are_a_usage_error() -> None:
    found = {line: failed(*shlex.split(line)) for line in USAGE_ERRORS}
    assert found == {line: (2, f"halloo: {message}") for line, message in USAGE_ERRORS.items()}


@pytest.mark.parametrize(
    ("command", "argument", "name"),
    [
        ("serve", "max_bytes", "--max-bytes"),
        ("serve", "limits.idle_timeout", "--idle-timeout"),
        ("serve", "addresses", "addresses"),
        ("connect", "tls.cert", "--cert"),
        ("connect", "port", "port"),
        ("connect", "tls", "tls"),
        ("send", "message", "message"),
        ("check server", "longer", "--long"),
        ("check server", "address", "address"),
    ],
)
def test_an_error_names_the_flag_of_an_argument(
    command: str, argument: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise UsageError("must be positive, not -1", "leave it out", argument=argument)

    monkeypatch.setattr(App, "__call__", refuse)
    with pytest.raises(SystemExit, match="2"):
        main(command.split())
    assert capsys.readouterr().err == f"halloo: {name} must be positive, not -1; leave it out\n"


MISUSED = {
    "frobnicate": "",
    "serve --frobnicate": "unknown option: --frobnicate; ",
    "--frobnicate": "unknown option: --frobnicate; ",
    "send": "",
    "connect -W": "",
    "serve --log xml": "",
    "demo now": "",
    "connect localhost echo": "",
}


def test_a_misused_command_names_the_help_to_read() -> None:
    for line, begins in MISUSED.items():
        first = line.partition(" ")[0]
        code, message = failed(*line.split())
        assert code == 2
        assert message.startswith(f"halloo: {begins}")
        assert message.endswith(f"; see: halloo {f'{first} ' if first in COMMANDS else ''}--help")
    assert 'did you mean "connect"?' in failed("conect")[1].lower()


def test_a_refused_connection_is_a_peer_error() -> None:
    for command in (["connect"], ["send", "--reply"]):
        port = unused_port()
        fact = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused)"
        assert failed(*command, f"127.0.0.1:{port}") == (1, f"{fact}; start a server there with: halloo serve {port}")


def test_a_refused_datagram_is_a_peer_error() -> None:
    for command in (["connect"], ["send"], ["send", "--reply"]):
        port = unused_datagram_port()
        result = halloo(*command, f"udp://localhost:{port}", input=b"hello")
        fact = f"halloo: nothing is listening on localhost:{port} (connection refused)"
        message = f"{fact}; start a server there with: halloo serve udp://{port}\n"
        assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", message)


def test_a_number_that_is_sent_as_a_message_gets_a_hint() -> None:
    port = unused_port()
    result = halloo("send", "127.0.0.1", str(port), "-W", "5")
    hint = f"halloo: {port} is sent as the message; for the port write: 127.0.0.1:{port}"
    assert result.stderr.decode().splitlines()[0] == hint
    assert b"is sent as" not in halloo("send", f"127.0.0.1:{port}", "42", "-W", "5").stderr


def test_the_words_of_the_user_stay_as_they_are_in_a_message() -> None:
    for word in ("./a=b", "./port=3", "./only=True"):
        assert failed("check", "server", word) == (
            2,
            f"halloo: '{word}' is a path; a Unix socket is written unix:{word}",
        )
    assert failed("ping", "localhost", "-o", "-port=x")[1].endswith("write ./-port=x for a file of that name")


def test_a_message_does_not_repeat_a_long_text_whole() -> None:
    lines = (
        "connect LONG; connect unix:/LONG; connect localhost LONG; send a b LONG; serve LONG; serve --LONG; "
        "serve --log LONG; serve unix:LONG; LONG; ping --fail-if LONG a; check client LONG; "
        "connect tls://[::1]:1 --ca LONG"
    )
    for line in lines.split("; "):
        code, message = failed(*line.replace("LONG", "x" * 10_000).split())
        assert code in (1, 2)
        assert "xxx..." in message
        assert len(message) < 1200


def test_an_ipv4_address_mapped_into_ipv6_with_a_zone_is_one_line() -> None:
    for command in (["check", "server"], ["connect"], ["ping"], ["serve"], ["receive"]):
        assert "Traceback" not in failed(*command, "[::ffff:127.0.0.1%lo]:1")[1]


def test_an_unknown_host_is_a_peer_error() -> None:
    for host in (".".join(["nowhere"] * 40), "x" * 64):  # longer than a name may be, so that no name server is asked
        fact = f"halloo: no address is known for '{host}'"
        assert failed("connect", host) == (1, f"{fact}; check the spelling, or give an IP address")


def test_a_port_in_use_is_named_with_its_owner() -> None:
    owner = f" by {psutil.Process().name()} (pid {os.getpid()})" if sys.platform == "linux" else ""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for command in ("serve", "receive"):
            result = run(*HALLOO, command, str(port))  # another program, which does not listen itself
            fact, _, remedy = result.stderr.decode().partition("; ")
            assert (result.returncode, fact) == (2, f"halloo: port {port} on 127.0.0.1 is taken{owner}")
            assert remedy.startswith("stop it, or choose another: halloo ")


def test_a_privileged_port_is_an_error_with_a_remedy() -> None:
    fact = "halloo: cannot listen on 127.0.0.1:80 (permission denied)"
    remedy = "ports below 1024 are for the administrator, choose another, such as tcp://127.0.0.1:8080"
    result = run(*unprivileged(), *HALLOO, "serve", "127.0.0.1:80")
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", f"{fact}; {remedy}\n")


def unprivileged() -> tuple[str, ...]:
    """Return a command prefix without the capability to bind ports below 1024 (capabilities(7))."""
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) <= 80:
        pytest.skip("ports below 1024 need no privilege on this system")
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv when run as root")
    # The same user: another one may not be permitted to read this interpreter.
    return ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")


def test_debug_prints_the_traceback_and_keeps_the_exit_code() -> None:
    result = halloo("--debug", "connect", f"127.0.0.1:{unused_port()}")
    assert result.returncode == 1
    assert result.stderr.startswith(b"Traceback (most recent call last):\n")
    assert b"halloo.errors.Refused: nothing is listening on " in result.stderr.splitlines()[-1]
    assert halloo("--debug", "serve", "localhost:99999").returncode == 2


def test_control_characters_in_arguments_are_escaped() -> None:
    for arguments in (["\x1b[31m"], ["serve", "--\x1b[31m"], ["connect", "\x1b[31m"]):
        assert "\x1b" not in failed(*arguments)[1]


# Closed and broken standard streams


def redirected(redirection: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    if not (shell := shutil.which("sh")):
        pytest.skip("needs sh")
    return run(shell, "-c", f'"$@" {redirection}', "sh", *HALLOO, *arguments)


@pytest.fixture
def echo() -> Iterator[str]:
    with Server("127.0.0.1:0") as server:
        yield server.address.place


@pytest.mark.parametrize(("command", "closed"), [("connect", "<&-"), ("send", "<&-"), ("connect", ">&-")])
def test_a_closed_stream_causes_no_traceback(command: str, closed: str, echo: str) -> None:
    result = redirected(closed, command, echo)
    assert b"Traceback" not in result.stderr
    assert result.stderr.count(b"\n") <= 1


@pytest.mark.parametrize("arguments", ["--help", "demo"])
def test_a_closed_standard_output_causes_no_traceback(arguments: str) -> None:
    assert b"Traceback" not in redirected(">&-", arguments).stderr


def test_errors_never_go_to_standard_output() -> None:
    result = redirected("2>&-", "connect", f"127.0.0.1:{unused_port()}")
    assert (result.returncode, result.stdout) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output_is_named() -> None:
    result = redirected(">/dev/full", "demo")
    message = b"halloo: standard output cannot be written: no space left on device; make room on its disk\n"
    assert (result.returncode, result.stderr) == (2, message)


def test_characters_that_the_output_cannot_encode_cause_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run(*HALLOO, "demo")
    assert (result.returncode, result.stderr) == (0, b"")


def test_output_whose_reader_has_left_ends_a_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        result = subprocess.run([*HALLOO, "--help"], stdout=pipe, stderr=subprocess.PIPE, timeout=20, check=False)
        both = subprocess.run([*HALLOO, "--frobnicate"], stdout=pipe, stderr=pipe, timeout=20, check=False)
    assert (result.returncode, result.stderr, both.returncode) == (0, b"", 2)


# Help


def test_the_help_lists_the_commands_in_order_each_with_its_summary() -> None:
    overview = run(*HALLOO, "--help").stdout.decode()
    names = [*COMMANDS, "check"]
    assert sorted(names, key=lambda name: overview.index(f"  {name} ")) == names
    for command in COMMANDS:
        summary = (inspect.getdoc(function(command)) or "").partition("\n")[0]
        assert f" {command} {summary}" in " ".join(overview.split())
    for arguments in ([], ["help"]):
        result = halloo(*arguments)
        assert (result.returncode, result.stdout.decode()) == (0, overview)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_names_all_its_parameters_and_fits_the_terminal(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = inspect.signature(function(command)).parameters
    for columns in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        result = halloo(command, "--help")
        text = result.stdout.decode()
        assert (result.returncode, result.stderr) == (0, b"")
        assert max(map(len, text.splitlines())) <= columns
        for parameter in parameters.values():
            optional = parameter.kind is parameter.KEYWORD_ONLY
            for name in names_of(parameter):
                assert f"--{name.replace('_', '-')}" in text if optional else name.upper() in text
    assert halloo("help", command).stdout.decode() == text


def names_of(parameter: inspect.Parameter) -> list[str]:
    """Return the names of the options that a parameter stands for: a group's are its fields."""
    if dataclasses.is_dataclass(parameter.annotation):
        return [field.name for field in dataclasses.fields(parameter.annotation)]
    return [parameter.name]


def test_every_parameter_has_a_help_text_and_every_command_returns_an_exit_code() -> None:
    for command in COMMANDS:
        text = (inspect.getdoc(function(command)) or "").partition("-----\n")[2]
        signature = inspect.signature(function(command))
        single = [name for name, each in signature.parameters.items() if not dataclasses.is_dataclass(each.annotation)]
        assert re.findall(r"^(\w+)$", text, re.MULTILINE) == single
        assert signature.return_annotation is int


def test_version_prints_the_version_of_the_package() -> None:
    result = halloo("--version")
    assert (result.returncode, result.stdout.decode()) == (0, f"halloo {__version__}\n")


@pytest.mark.parametrize("columns", ["0", "-1", "1", "abc", "9" * 5000, "\xb2"])
def test_help_is_printed_whatever_the_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["--help"], ["serve", "--help"]):
        monkeypatch.setenv("COLUMNS", columns)
        done = halloo(*arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"Usage: halloo ")
        assert (max(map(len, done.stdout.decode().splitlines())) > 70) == (columns != "1")


# Completion


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("_home")
def test_completion_is_installed_in_the_home_directory(tmp_path: Path) -> None:
    result = halloo("--install-completion", "--shell", "bash")
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / ".local/share/bash-completion/completions/halloo").is_file()


@pytest.mark.usefixtures("_home")
def test_a_completion_script_contains_the_commands_and_bash_completes_one(tmp_path: Path) -> None:
    for shell in ("zsh", "fish", "bash"):
        script = tmp_path / shell
        assert halloo("--install-completion", "--shell", shell, "--output", script).returncode == 0
        assert all(command in script.read_text() for command in COMMANDS)
    if not (bash := shutil.which("bash")):
        pytest.skip("needs bash")
    completion = '. "$0"; COMP_WORDS=(halloo se); COMP_CWORD=1; _halloo; echo "${COMPREPLY[@]}"'
    assert sorted(run(bash, "-c", completion, script).stdout.split()) == [b"send", b"serve"]
