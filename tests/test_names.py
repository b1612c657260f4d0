"""Names that do not resolve, or resolve to a silent address first, in a network namespace of the test's own."""

import sys
from pathlib import Path

import pytest

from tests.namespace import in_namespace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's namespaces")

# A name server that never answers. Once it has received a question, the command is known to wait for it.
MUTE = """
mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mute.bind(("127.0.0.1", 53))
def asked(name):
    mute.settimeout(30)
    while name.encode() not in mute.recv(2000):
        pass
"""


def test_a_mute_name_server_does_not_outlast_the_timeout(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        MUTE
        + """
import halloo
for words in ("connect nohost.test -W .2", "send nohost.test hi -W .2", "ping nohost.test -c 1 -w .2 -q"):
    began = time.monotonic()
    show(start(*words.split()), began)
began = time.monotonic()
try:
    halloo.connect_udp("nohost.test", timeout=0.1)
except halloo.TimedOut as error:
    print("quick" if time.monotonic() - began < 4 else "slow", error)
""",
    )
    fact = "the resolver has not found 'nohost.test' in time (timed out); try again later, or give an IP address"
    connect, send, *ping, udp = printed.splitlines()
    assert (connect, send, udp) == (f"1 quick halloo: {fact}", f"1 quick halloo: {fact}", f"quick {fact}")
    assert ping[0].startswith("1 quick")


def test_a_signal_ends_the_wait_for_a_mute_name_server(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        MUTE
        + """
commands = ("connect HOST", "send HOST hi", "serve HOST:0", "receive HOST:0", "check server HOST --allow-remote HOST")
for number, words in enumerate(commands):
    process = start(*words.replace("HOST", f"host{number}.test").split())
    asked(f"host{number}")
    began = time.monotonic()
    process.send_signal((signal.SIGINT, signal.SIGTERM)[number % 2])
    show(process, began)
""",
    )
    assert printed.splitlines() == ["130 quick "] * 5


# Packets to 2001:db8::2 and ::3 have a link and a neighbour, and are never answered; 10.8.0.1 has an echo.
SILENT_HOSTS = "127.0.0.1 localhost\n2001:db8::2 name\n2001:db8::3 name\n10.8.0.1 name\n"
SILENT = """
for words in ("link add d0 type veth peer name d1", "link set d0 up", "link set d1 up", "addr add 10.8.0.1/24 dev d0",
              "-6 addr add 2001:db8::1/64 dev d0 nodad"):
    ip(words)
for n in (2, 3):
    ip(f"neigh add 2001:db8::{n} lladdr 02:00:00:00:00:0{n} dev d0 nud permanent")
import halloo
"""


def test_a_silent_address_delays_a_connection_by_a_moment(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        SILENT
        + """
with halloo.Server("10.8.0.1:8888"):
    for words in ("send name hi --reply", "send name hi --reply -W 1"):
        began = time.monotonic()
        show(start(*words.split()), began)
began = time.monotonic()
show(start("send", "name", "hi", "-W", "1"), began)
""",
        SILENT_HOSTS,
    )
    said = (
        "0 quick halloo: [2001:db8::2]:8888 was tried first, without success for 0.3 s; 10.8.0.1 is used",
        "hi",
    )
    *sent, failed = printed.splitlines()
    assert tuple(sent) == said * 2
    assert failed == (
        "1 quick halloo: no address of name can be connected to: nothing is listening on 10.8.0.1:8888 (connection "
        "refused), [2001:db8::2]:8888 does not answer (timed out), [2001:db8::3]:8888 does not answer (timed out); "
        "start a server there with: halloo serve :8888"
    )


UDP_HOSTS = "127.0.0.1 localhost\n127.0.0.2 closed\n127.0.0.1 closed\n2001:db8::2 silent\n10.8.0.1 silent\n"


def test_over_udp_the_address_that_answers_is_pinged_and_one_that_refuses_is_named(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        SILENT
        + """
with halloo.Server("udp://127.0.0.2:8888", "udp://10.8.0.1:8888"):
    for words in ("send udp://closed hi --reply", "send udp://silent hi --reply -W .1", "ping udp://silent -c 2 -i .1"):
        began = time.monotonic()
        show(start(*words.split()), began)
""",
        UDP_HOSTS,
    )
    refused, silent, heading, *lines = printed.splitlines()
    assert refused == (
        "0 quick hi"  # and to standard error
        "halloo: nothing is listening on 127.0.0.1:8888 (connection refused); 127.0.0.2 is used"
    )
    assert silent == (
        "1 quick halloo: [2001:db8::2]:8888 did not answer the datagram within 0.1 seconds; "
        "try another address of silent: udp://10.8.0.1:8888"
    )
    assert heading.startswith("0 quick ping udp://silent:8888 (10.8.0.1:8888) from 10.8.0.1:")
    assert any(line.startswith("2 sent, 2 received, 0 % lost") for line in lines)
