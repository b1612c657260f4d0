"""Tests of the address that is checked: of a name, the first where something listens."""

import socket
from pathlib import Path

import pytest

from halloo._check.server.reach import reached
from halloo._core.address import Address
from tests._check.programs import ECHO
from tests.namespace import in_namespace
from tests.programs import PYTHON

BOTH = "::1 localhost both\n127.0.0.1 localhost both\n192.0.2.1 both\n"
CHECK = f"""
def check(server, *words):
    process = subprocess.Popen(["{PYTHON}", "-c", server, "8888"], stdout=subprocess.DEVNULL)
    command = ["{PYTHON}", "-m", "halloo", "check", "server", "--quick", *words]
    while subprocess.run(["ss", "-lntuH", "sport", "=", "8888"], capture_output=True).stdout == b"":
        assert process.poll() is None
    report = subprocess.run(command, text=True, stdout=subprocess.PIPE)
    print(report.returncode, *(line for line in report.stdout.splitlines() if line[:4] in ("FAIL", "ERRO")))
    process.kill()
    process.wait()
echo = '''{ECHO}'''
udp = '''
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 8888))
while True:
    s.sendto(*s.recvfrom(65535))
'''
"""
# seccomp(2), socket(2): as on a kernel without IPv6, socket(AF_INET6) fails with EAFNOSUPPORT.
WITHOUT_IPV6 = """
import ctypes, platform, struct
number = {"x86_64": 41, "aarch64": 198}.get(platform.machine()) or sys.exit("another processor")
load, equal, end = 0x20, 0x15, 0x06
steps = (
    *((load, 0, 0, 0), (equal, 0, 3, number), (load, 0, 0, 16), (equal, 0, 1, socket.AF_INET6)),
    *((end, 0, 0, 0x50000 + 97), (end, 0, 0, 0x7FFF0000)),
)
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, struct.pack("HP", len(steps), ctypes.addressof(program))):
    sys.exit("no seccomp(2)")
try:
    socket.socket(socket.AF_INET6)
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_of_a_name_the_address_is_checked_where_something_listens(kind: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET6 and len(socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)) == 1:
        pytest.skip("localhost has no IPv6 address")
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        if kind == "tcp":
            sock.listen()
        port = sock.getsockname()[1]
        assert reached(Address(kind, "localhost", port)) == Address(kind, host, port)
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):  # neither a connection nor a datagram has arrived
            sock.accept() if kind == "tcp" else sock.recvfrom(1)


def test_a_path_and_the_only_address_of_another_machine_are_left_to_the_first_case() -> None:
    unix = Address("unix", None, 0, "/no/such/echo")
    assert reached(unix) == unix
    assert reached(Address("tcp", "192.0.2.1", 8888)) == Address("tcp", "192.0.2.1", 8888)


@pytest.mark.timeout(120)
def test_a_server_of_ipv4_alone_is_checked_by_a_name_whose_first_address_is_ipv6(tmp_path: Path) -> None:
    code = f"{CHECK}check(echo, '--only', 'T01,T35', '--allow-remote', 'both', 'both'); check(udp, '--only', 'U01,U09', 'udp://localhost')"
    assert in_namespace(tmp_path, code, BOTH) == "0\n0\n"


@pytest.mark.timeout(120)
def test_a_link_local_address_keeps_its_interface(tmp_path: Path) -> None:
    own = "s = socket.socket(socket.AF_INET6); s.bind(('fe80::7', 8888, 0, socket.if_nametoindex('lo'))); s.listen()"
    server = ECHO.replace('s = socket.create_server(("127.0.0.1", int(sys.argv[1])))', own)
    assert server != ECHO
    code = (
        f"{CHECK}ip('address add fe80::7/64 dev lo nodad')\ncheck('''{server}''', '--only', 'T01,T35', '[fe80::7%lo]')"
    )
    assert in_namespace(tmp_path, code) == "0\n"


@pytest.mark.timeout(120)
def test_servers_are_checked_without_ipv6(tmp_path: Path) -> None:
    checks = "check(echo, '--only', 'T01,T35,T38', 'localhost'); check(udp, '--only', 'U01', 'udp://localhost')"
    command = "'check', 'server', '-q', '--only', 'T01,T38', '--', sys.executable, '-c', echo, 'PORT'"
    code = f"{WITHOUT_IPV6}{CHECK}{checks}\nsys.exit(subprocess.call([sys.executable, '-m', 'halloo', {command}]))"
    output = in_namespace(tmp_path, code, BOTH)
    assert output.startswith("Address family not supported by protocol\n0\n0\n2 cases of a tcp server: 1 PASS, 1 INFO")
