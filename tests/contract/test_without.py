"""The contract, the loop's own tests and the public functions without the features that Windows lacks.

Each runs in a separate process, in which `windows` hides those features before halloo is imported.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import PYTHON, run, started

TOP = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 20  # seconds without a byte, after which the test fails
HIDE = f"import sys; sys.path.insert(0, {str(TOP)!r}); import tests.contract.windows\n"
LOOP = ("poller", "echo", "handlers", "running", "serve", "server")


@pytest.mark.timeout(300)
def test_the_contract_is_kept_and_the_loop_and_the_public_functions_pass_their_tests(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    files = ["contract/test_echo_contract.py", "contract/test_datagram_contract.py"]
    files += [f"_server/test_{module}.py" for module in LOOP]
    # Without ancillary data the destination address is unknown. Of `serve`, the functions, not the command.
    chosen = "not asyncio and not everywhere and (not test_serve.py or test_serving or test_server)"
    command = [PYTHON, "-m", "pytest", "-p", "tests.contract.windows", "-p", "no:cacheprovider", "-k", chosen]
    folder = tmp_path_factory.mktemp("inner")  # of the numbered ones, which all runs share, pytest deletes the oldest
    command += [f"--basetemp={folder}"]
    command += [f"tests/{file}" for file in files]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "as on Windows: SelectSelector" in done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 150


def test_features_that_windows_lacks_are_hidden_and_the_public_functions_work() -> None:
    program = """
import os, select, signal, socket, threading
print([hasattr(*each) for each in ((os, "fork"), (os, "readv"), (select, "epoll"), (socket, "AF_UNIX"),
    (socket, "SO_REUSEPORT"), (socket.socket, "recvmsg"), (socket.socket, "sendmsg"), (signal, "SIGHUP"))])
try:
    import readline
except ImportError:
    print("no readline")

from halloo._server.poller import default_poller
poller = default_poller()
print(type(poller).__name__, type(poller._selector).__name__)

import halloo
with halloo.Server() as server, halloo.connect(server.address, timeout=20) as connection:
    connection.send(bytes(5_000_000))
    print(connection.receive_exactly(5_000_000) == bytes(5_000_000))
    connection.send_eof()
    print(connection.receive())
with halloo.listen(0) as listener, halloo.connect(listener.address) as client, listener.accept() as served:
    client.send(b"hello")
    print(served.receive(timeout=20))
with socket.create_server(("127.0.0.1", 0)) as s:
    thread = threading.Thread(target=halloo.client, args=("127.0.0.1", s.getsockname()[1]))
    thread.start()
    snapshot = halloo.server(s, clients=1)
    thread.join()
    print(snapshot.sent_bytes)
"""
    done = run(PYTHON, "-c", HIDE + program, input=b"hello\n")
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    expected = [str([False] * 8), "no readline", "Selector SelectSelector", "True", "b''", "b'hello'"]
    assert lines[:6] == expected
    assert sorted(line.partition(" (")[0] for line in lines[6:]) == ["6", "Connected by", "hello"]


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent these signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_and_the_client_as_a_filter_work(number: signal.Signals) -> None:
    data = bytes(range(256)) * 20_000
    with started(PYTHON, "-c", f"{HIDE}import halloo; halloo.serve('127.0.0.1:0')") as server:
        assert server.stdout
        port = int(server.stdout.readline().rpartition(b":")[2])
        done = run(PYTHON, "-c", f"{HIDE}import halloo; halloo.client('127.0.0.1', {port})", input=data)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == data
        server.send_signal(number)
        assert server.wait(TIMEOUT) == 0


def test_more_clients_than_select_can_watch_do_not_stop_the_server() -> None:
    resource = pytest.importorskip("resource")
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2000:
        pytest.skip("needs more descriptors than select(2) can watch")
    program = (
        "import os, resource\n" + HIDE + "import halloo, socket\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "server = halloo.Server('127.0.0.1:0')\n"
        "address = server.__enter__().address\n"
        "first = socket.create_connection((address.host, address.port), 5)\n"
        "first.sendall(b'hello')\n"
        "assert first.recv(5) == b'hello'\n"  # its number is assigned before the others
        "numbers = [os.dup(0) for _ in range(1100)]\n"
        "one_too_many = socket.create_connection((address.host, address.port), 5)\n"
        "for _ in range(100):\n"
        "    first.sendall(b'hello')\n"
        "    assert first.recv(5) == b'hello'\n"
        "print('served', flush=True)\n"
        "os._exit(0)\n"
    )
    done = run(PYTHON, "-c", program)
    assert done.stdout == b"served\n", done.stderr.decode()
