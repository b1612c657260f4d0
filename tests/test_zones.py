"""Link-local IPv6 addresses, which name an interface: served, connected to and printed with it (RFC 4007, 11)."""

import sys
from pathlib import Path

import pytest

from tests.namespace import in_namespace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")

LINK_LOCAL = """
ip("-6 addr add fe80::5/64 dev lo nodad")
import halloo
"""


def test_a_link_local_address_is_served_and_accepted_clients_have_their_interface(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        LINK_LOCAL
        + """
for scheme in ("tcp", "tls", "udp"):
    with halloo.Server(f"{scheme}://[fe80::5%lo]:0") as server:
        place = server.address
        print(place.host, halloo.Address.parse(str(place)) == place)
        if place.scheme == "udp":
            client = halloo.connect_udp(place, timeout=10)
        else:
            tls = halloo.ClientTLS(insecure=True) if server.fingerprint else None
            client = halloo.connect(place, tls=tls, timeout=10)
        with client:
            client.send(b"hello")
            print(client.receive(), client.address == place, client.local_address.host)
with halloo.listen("[fe80::5%lo]:0") as listener, halloo.connect(listener.address, timeout=10) as client:
    with listener.accept(timeout=10) as served:
        print(served.address.host, served.address == client.local_address)
with halloo.listen("udp://[fe80::5%lo]:0") as listener, halloo.connect_udp(listener.address, timeout=10) as client:
    client.send(b"x")
    with listener.accept_udp(timeout=10) as served:
        print(served.address.host)
""",
    )
    each = ["fe80::5%lo True", "b'hello' True fe80::5%lo"]
    assert printed.splitlines() == [*each * 3, "fe80::5%lo True", "fe80::5%lo"]


def test_commands_listen_on_a_link_local_address(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        LINK_LOCAL
        + """
os.environ["HALLOO_BIND"] = "fe80::5%lo"
for words in ("serve 0", "serve [fe80::5%lo]:0 --workers 2 --reuse-port", "receive [fe80::5%lo]:0",
              "serve 127.0.0.1:0 --metrics [fe80::5%lo]:0"):
    process = start(*words.split())
    print(process.stdout.readline().decode().rpartition(":")[0])
    process.terminate()
    process.communicate(timeout=20)
""",
    )
    assert printed.splitlines() == [
        "listening on tcp://[fe80::5%lo]",
        "listening on tcp://[fe80::5%lo]",
        "listening on tcp://[fe80::5%lo]",
        "halloo: metrics at http://[fe80::5%lo]",
    ]


def test_a_missing_or_wrong_interface_has_its_own_sentence(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        LINK_LOCAL
        + """
from tests.command import halloo as run
for words in ("serve [fe80::5]:0", "connect [fe80::5]:9", "send udp://[fe80::5]:9 x", "receive [fe80::5%nope]:0",
              "connect [fe80::5%nope]:9", "ping [fe80::5%lo]:9 -c 1 --bind fe80::5",
              "ping [fe80::5%lo]:9 -c 1 --bind fe80::5%nope"):
    done = run(*words.split())
    print(done.returncode, (done.stdout + done.stderr).decode().rstrip())
""",
    )
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == ["2", "1", "1", "2", "1", "2", "2"]
    assert all(
        ": fe80::5 may be on any interface; say which interface, as in fe80::5%eth0" in each for each in lines[:3]
    )
    assert all(
        ": this machine has no interface 'nope'; say which interface, as in fe80::5%eth0" in each for each in lines[3:5]
    )
    assert lines[5].endswith(
        "--bind fe80::5 is not complete: fe80::5 may be on any interface; say which interface, as in fe80::5%eth0"
    )
    assert ": this machine has no interface 'nope'; say which interface" in lines[6]
