"""The checker is checked: every deliberately wrong server of datagrams fails exactly what its mistake is about.

Each is asked every MUST and SHOULD of level 4; a case that needs a failed one is BLOCKED, and only such a one. The
right servers pass everything. That takes some minutes (`make check-all`); `make test` asks what fails at once. To forge
datagrams, and to ask from a service's port, takes root: for others these cases are skipped, and so are their mutants.
"""

import pytest

from halloo._check.catalogue import cases
from halloo._check.runner import RunOptions, ask
from halloo._check.spec import ServerSpec
from tests._check.accusing import Wrong, asked, failed_by, fails_exactly, mutants, skip_unasked, told
from tests._check.programs import python

SERVERS = "tests._check.mutants.datagrams"
RIGHT = ("reference_udp", "lossy")
CASES = [case for case in cases() if case.id[0] == "U"]
ASKED = [case for case in CASES if case.severity != "INFO"]
BY_ID = {case.id: case for case in CASES}
# What is failed within moments.
QUICK = {"U01", "U02", "U04", "U05", "U06", "U08", "U10", "U12", "U18", "U19"}
FOR_ROOT = {"U12", "U13", "U15", "U16", "U17"}

ANYBODY = "whoever is named as the sender is answered"
CROSSED = "one client's datagram is answered to another, or only the first client is"
EMPTY = "an empty datagram is taken for an end"
ERROR_ENDS = "an error about one datagram ends the server"
SMALL = "the buffer is too small for a datagram"

MUTANTS = {
    "answers_broadcasts": Wrong("U18", ANYBODY),
    "answers_everybody": Wrong("U17", ANYBODY),
    "answers_from_elsewhere": Wrong("U10", "the answer leaves from another address than was asked"),
    "answers_groups": Wrong("U17", ANYBODY),
    "answers_its_copies": Wrong("U15", ANYBODY),
    "answers_itself": Wrong("U13 U15", ANYBODY),
    "answers_services": Wrong("U12", ANYBODY),
    "answers_the_latest": Wrong("U07", CROSSED),
    "answers_twice": Wrong("U08", "a datagram is answered more than once"),
    "decodes": Wrong("U02", "bytes are decoded before they are echoed"),
    "ends_at_a_failed_answer": Wrong("U16 U17", ERROR_ENDS),
    "ends_at_a_large": Wrong("U05", SMALL),
    "ends_at_an_empty": Wrong("U03", EMPTY),
    "ends_at_an_error": Wrong("U09", ERROR_ENDS),
    "joins": Wrong("U06", "datagrams are joined, as if they were a stream"),
    "knows_pairs": Wrong("U20", "an address is taken for a host and a port"),
    "lets_streams_wait": Wrong("U21", "streams wait until no datagram comes"),
    "reads_8_kib": Wrong("U05", SMALL),
    "reads_little": Wrong("U04 U05", SMALL),
    "sends_old_bytes": Wrong("U19", "bytes of an earlier datagram are sent along"),
    "serves_one": Wrong("U07", CROSSED),
    "skips_what_is_empty": Wrong("U03", EMPTY),
    "strips_lines": Wrong("U01", "lines are waited for, stripped or added"),
    "takes_its_time": Wrong("U14", "what is slow is done between two datagrams"),
    "throws_away": Wrong("U06 U07", "datagrams that came meanwhile are thrown away"),
}


def test_every_mutant_is_asked() -> None:
    assert mutants("datagrams") == set(MUTANTS)


def test_every_case_that_matters_is_failed_by_a_mutant() -> None:
    assert failed_by(MUTANTS.values()) == {case.id for case in ASKED}


QUICKLY = {name: sorted(QUICK.intersection(wrong.fails.split())) for name, wrong in MUTANTS.items()}


@pytest.mark.parametrize("name", [name for name, fails in QUICKLY.items() if fails])
def test_a_mutant_fails_at_once(name: str) -> None:
    """It echoes a line, unless that is its mistake, and fails what can be failed at once."""
    results = asked(f"{SERVERS}.{name}", [BY_ID[each] for each in sorted({"U01", *QUICKLY[name]})], scheme="udp")
    skip_unasked(results, QUICKLY[name])
    assert set(told(results, "FAIL")) == set(QUICKLY[name])


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_exactly_what_its_mistake_is_about(name: str) -> None:
    fails_exactly(MUTANTS[name], asked(f"{SERVERS}.{name}", ASKED, scheme="udp"))


@pytest.mark.conformance
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_server_passes_everything(name: str) -> None:
    results = asked(f"tests._check.{name}", CASES, scheme="udp")
    assert told(results, "FAIL", "ERROR", "WARN", "BLOCKED") == {}
    assert set(told(results, "SKIP")) <= {*FOR_ROOT, "U20"}  # U20 for want of IPv6
    skip_unasked(results, BY_ID)


# One socket for both families, as Go and Java have it: IPv4 is served as well.
BOTH = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", int(sys.argv[1])))
while True:
    s.sendto(*s.recvfrom(65535))
"""

CUTS_MAPPED = BOTH.replace(
    "s.sendto(*s.recvfrom(65535))",
    """data, peer = s.recvfrom(65535)
    s.sendto(data[:512] if peer[0].startswith("::ffff:") else data, peer)""",
)


@pytest.mark.parametrize(("server", "verdict"), [(BOTH, "PASS"), (CUTS_MAPPED, "FAIL")])
def test_a_client_of_ipv4_may_be_served_by_a_socket_of_ipv6(server: str, verdict: str) -> None:
    result = ask(BY_ID["U20"], ServerSpec(scheme="udp", command=python(server)), RunOptions())
    assert (result.verdict, result.pattern) == (verdict, "short" if verdict == "FAIL" else "")


@pytest.mark.parametrize("case", ["U12", "U18"])
def test_a_socket_for_both_families_is_asked_over_ipv4(case: str) -> None:
    result = ask(BY_ID[case], ServerSpec(scheme="udp", command=python(BOTH)), RunOptions())
    skip_unasked([result], FOR_ROOT)
    assert (result.verdict, result.pattern) == ("FAIL", "answered")
