"""Tests of the checker: every UDP mutant, a server with one mistake, fails exactly the cases for that mistake.

Each mutant is checked with every MUST and SHOULD of level 4; cases that need a failed one are BLOCKED, and no others.
The correct servers pass everything. That takes some minutes (`make check-all`); `make test` runs only the cases that
fail at once. Spoofed datagrams and source ports below 1024 need root: without it, these cases and mutants are skipped.
"""

import pytest

from halloo._check.catalogue import cases
from halloo._check.runner import RunOptions, run_case
from halloo._check.spec import ServerSpec
from tests._check.mutant_results import (
    Expected,
    assert_fails_exactly,
    check_module,
    failed_by,
    mutants,
    skip_if_skipped,
    texts,
)
from tests._check.programs import python

SERVERS = "tests._check.mutants.datagrams"
CORRECT = ("reference_udp", "lossy")
CASES = [case for case in cases() if case.id[0] == "U"]
SELECTED = [case for case in CASES if case.severity != "INFO"]
BY_ID = {case.id: case for case in CASES}
# Cases that fail at once.
QUICK = {"U01", "U02", "U04", "U05", "U06", "U08", "U10", "U12", "U18", "U19"}
NEED_ROOT = {"U12", "U13", "U15", "U16", "U17"}

ANY_SOURCE = "every sender address gets a reply"
CROSSED = "replies go to the wrong client, or only to the first"
EMPTY = "an empty datagram is taken for end of file"
ERROR_ENDS = "an error about one datagram ends the server"
SMALL = "the buffer is too small for a datagram"

MUTANTS = {
    "replies_to_broadcasts": Expected("U18", ANY_SOURCE),
    "sends_broadcasts": Expected("U17", ANY_SOURCE),
    "replies_from_wrong_address": Expected("U10", "the reply is sent from a different address"),
    "replies_to_multicast_sources": Expected("U17", ANY_SOURCE),
    "replies_to_its_copies": Expected("U15", ANY_SOURCE),
    "replies_to_itself": Expected("U13 U15", ANY_SOURCE),
    "replies_to_service_ports": Expected("U12", ANY_SOURCE),
    "replies_to_latest_client": Expected("U07", CROSSED),
    "replies_twice": Expected("U08", "a datagram is answered more than once"),
    "decodes_utf8": Expected("U02", "bytes are decoded before they are echoed"),
    "exits_at_failed_send": Expected("U16 U17", ERROR_ENDS),
    "exits_at_large_datagram": Expected("U05", SMALL),
    "exits_at_empty_datagram": Expected("U03", EMPTY),
    "exits_at_icmp_error": Expected("U09", ERROR_ENDS),
    "joins_datagrams": Expected("U06", "datagrams are joined, as if they were a stream"),
    "assumes_address_pairs": Expected("U20", "an address is assumed to be host and port"),
    "starves_tcp": Expected("U21", "streams wait while datagrams arrive"),
    "has_an_8_kib_buffer": Expected("U05", SMALL),
    "has_a_1_kib_buffer": Expected("U04 U05", SMALL),
    "sends_stale_bytes": Expected("U19", "the reply contains bytes of an earlier datagram"),
    "serves_only_first_client": Expected("U07", CROSSED),
    "ignores_empty_datagrams": Expected("U03", EMPTY),
    "strips_lines": Expected("U01", "lines are expected, stripped or added"),
    "is_slow_between_datagrams": Expected("U14", "slow work is done between two datagrams"),
    "drops_queued_datagrams": Expected("U06 U07", "datagrams received in between are discarded"),
}


def test_every_mutant_is_checked() -> None:
    assert mutants("datagrams") == set(MUTANTS)


def test_every_must_and_should_is_failed_by_a_mutant() -> None:
    assert failed_by(MUTANTS.values()) == {case.id for case in SELECTED}


QUICK_CASES = {name: sorted(QUICK.intersection(expected.fails.split())) for name, expected in MUTANTS.items()}


@pytest.mark.parametrize("name", [name for name, fails in QUICK_CASES.items() if fails])
def test_a_mutant_fails_its_quick_cases(name: str) -> None:
    """It echoes a line, unless that is its mistake, and fails the quick cases."""
    results = check_module(
        f"{SERVERS}.{name}", [BY_ID[each] for each in sorted({"U01", *QUICK_CASES[name]})], scheme="udp"
    )
    skip_if_skipped(results, QUICK_CASES[name])
    assert set(texts(results, "FAIL")) == set(QUICK_CASES[name])


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_exactly_the_cases_for_its_mistake(name: str) -> None:
    assert_fails_exactly(MUTANTS[name], check_module(f"{SERVERS}.{name}", SELECTED, scheme="udp"))


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_server_passes_everything(name: str) -> None:
    results = check_module(f"tests._check.{name}", CASES, scheme="udp")
    assert texts(results, "FAIL", "ERROR", "WARN", "BLOCKED") == {}
    assert set(texts(results, "SKIP")) <= {*NEED_ROOT, "U20"}  # U20 needs IPv6
    skip_if_skipped(results, BY_ID)


# A dual-stack socket, as in Go and Java: it serves IPv4 as well.
DUAL_STACK = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", int(sys.argv[1])))
while True:
    s.sendto(*s.recvfrom(65535))
"""

TRUNCATES_MAPPED = DUAL_STACK.replace(
    "s.sendto(*s.recvfrom(65535))",
    """data, peer = s.recvfrom(65535)
    s.sendto(data[:512] if peer[0].startswith("::ffff:") else data, peer)""",
)


@pytest.mark.parametrize(("server", "verdict"), [(DUAL_STACK, "PASS"), (TRUNCATES_MAPPED, "FAIL")])
def test_an_ipv4_client_may_be_served_by_an_ipv6_socket(server: str, verdict: str) -> None:
    result = run_case(BY_ID["U20"], ServerSpec(scheme="udp", command=python(server)), RunOptions())
    assert (result.verdict, result.pattern) == (verdict, "short" if verdict == "FAIL" else "")


@pytest.mark.parametrize("case", ["U12", "U18"])
def test_a_dual_stack_socket_is_checked_over_ipv4(case: str) -> None:
    result = run_case(BY_ID[case], ServerSpec(scheme="udp", command=python(DUAL_STACK)), RunOptions())
    skip_if_skipped([result], NEED_ROOT)
    assert (result.verdict, result.pattern) == ("FAIL", "answered")
