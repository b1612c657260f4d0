import socket

import pytest

from halloo._check.case import Skipped
from halloo._check.catalogue import cases
from halloo._check.client.target import ClientTarget, case
from halloo._check.execution import RunOptions, run_case
from halloo._check.results import Result
from halloo._check.sockets import Sockets, bind_port
from halloo._check.spec import ClientSpec, Stdin
from halloo.errors import AddressInUse
from tests._check.programs import alive
from tests.programs import PYTHON

CASES = {case.id: case for case in cases()}


def ask(id: str, program: str, *, stdin: Stdin | None = "none", verifying: bool = False, port: int = 0) -> Result:  # noqa: A002 - a case id
    words = (PYTHON, "-c", program, "HOST", "PORT")
    return run_case(CASES[id], ClientSpec(command=words, stdin=stdin, verifying=verifying, port=port), RunOptions())


def test_a_program_that_cannot_start_is_named() -> None:
    result = run_case(CASES["C01"], ClientSpec(command=("no-such-program", "PORT"), stdin="none"), RunOptions())
    assert (result.verdict, result.text) == ("FAIL", "no-such-program: No such file or directory")


def test_the_output_of_a_program_that_does_not_connect_is_quoted() -> None:
    result = ask("C01", "print('not today')")
    assert result.verdict == "FAIL"
    assert "'not today'" in result.text
    assert "exited with code 0" in result.text


def test_child_processes_of_a_client_are_killed() -> None:
    spawn = "p = subprocess.Popen(['sleep', '600'], start_new_session=True)"
    result = ask("C13", f"import subprocess, sys; {spawn}; sys.exit(f'pid {{p.pid}}.')")
    pid = int(result.text.partition("pid ")[2].partition(".")[0])
    assert not alive(pid)


CONNECT = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); "


def test_a_reply_may_be_printed_on_either_stream_but_output_before_it_is_none() -> None:
    for stream in ("stdout", "stderr"):
        message = f"print('sending hello', file=sys.{stream}, flush=True); "
        assert ask("C01", f"{CONNECT}{message}s.sendall(b'hello'); s.recv(9)").verdict == "FAIL"
        show = f"print(s.recv(9), file=sys.{stream})"
        assert ask("C01", f"{CONNECT}s.sendall(b'hello'); {show}").verdict == "PASS"


def test_a_client_killed_by_an_unnamed_signal_fails() -> None:
    result = ask("C13", "import os; os.kill(os.getpid(), 40)")
    assert (result.verdict, result.pattern) == ("FAIL", "crash signal-40")


def test_a_case_may_raise_anything() -> None:
    def found(error: Exception) -> Result:
        def act(_: ClientTarget) -> None:
            raise error

        broken = case("MUST", "never", "this test").of("c99_broken", "Raise an error.", act)
        return run_case(broken, ClientSpec(command=("true", "PORT")), RunOptions())

    error, skipped = found(ZeroDivisionError()), found(Skipped("not of this one"))
    assert (error.verdict, "ZeroDivisionError" in error.text) == ("ERROR", True)
    assert (skipped.verdict, skipped.text) == ("SKIP", "not of this one")


def test_a_client_that_uses_too_much_memory_fails() -> None:
    program = "import time; [None for _ in iter(lambda: time.monotonic(), 0)]"
    subject = ClientSpec(command=(PYTHON, "-c", program, "HOST", "PORT"), stdin="none")
    result = run_case(CASES["C01"], subject, RunOptions(memory=1 << 20))
    assert (result.verdict, result.pattern) == ("FAIL", "memory")


def test_a_client_that_starts_too_many_processes_fails() -> None:
    forks = "import os, signal; any(os.fork() == 0 for _ in range(5)); signal.pause()"
    subject = ClientSpec(command=(PYTHON, "-c", forks, "HOST", "PORT"), stdin="none")
    result = run_case(CASES["C01"], subject, RunOptions(processes=4))
    assert (result.verdict, result.text) == ("FAIL", "more than 4 processes were started")


def test_a_client_that_prints_without_end_fails_and_is_not_kept_in_memory() -> None:
    result = ask("C01", "import os\nwhile True: os.write(1, b'x' * 65536)")
    assert (result.verdict, result.text, result.pattern) == ("FAIL", "it printed more than 16 MiB", "flood")


def test_verifying_raises_the_severity() -> None:
    assert [ask("C10", "", verifying=each).case.severity for each in (False, True)] == ["INFO", "MUST"]


def close(sockets: Sockets) -> int:
    """Close the sockets of a port, and return it."""
    port = int(sockets[socket.AF_INET].getsockname()[1])
    for sock in sockets.values():
        sock.close()
    return port


def test_a_fixed_port_is_used() -> None:
    port = close(bind_port("tcp"))
    program = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); "
    assert ask("C01", f"{program}s.sendall(b'x'); print(s.recv(9).decode())", port=port).verdict == "PASS"


def test_a_port_is_bound_immediately_and_one_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(AddressInUse):
        bind_port("tcp", other.getsockname()[1], timeout=0)
    sockets = bind_port("udp")
    port = sockets[socket.AF_INET].getsockname()[1]
    try:
        with pytest.raises(AddressInUse):
            bind_port("udp", port, timeout=0)
    finally:
        close(sockets)
