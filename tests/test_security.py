"""SECURITY.md is a table of promises: each names the tests that hold it, and its figures are those of the code."""

import re
from pathlib import Path

from halloo._core.framing import MAX_MESSAGE
from halloo._core.limits import HANDSHAKE, STALL, Limits
from halloo._core.probe import NOTICE_SIZE
from halloo._net import bpf, tls_records, unix
from halloo._server import (
    acceptor,
    echo,
    handlers,
    http,
    refusals,
    run_window,
    tls,
    udp,
    udp_policy,
)

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
KIB = 1024
PROMISES = [
    f"at most {udp_policy.MAX_PER_WINDOW / udp_policy.WINDOW:.0f} replies per second",
    f"{udp_policy.MAX_PER_WINDOW} in each tenth",
    f"at most {refusals.MAX_NOTICES} times a second in all",
    f"a notice of {NOTICE_SIZE} bytes",
    f"a time to live (TTL) of {bpf.TTL}",
    f"arrive with a TTL of {bpf.MAX_INITIAL_TTL + 1} to {bpf.TTL}",
    f"gets no reply for {udp_policy.SILENCE} s",
    f"up to {udp_policy.MAX_PORTS} ports of a host are known",
    f"at most one buffer ({echo.BUFFER_SIZE // KIB} KiB)",
    f"one read of at most {echo.BUFFER_SIZE // KIB} KiB",
    f"over TLS one record of at most {tls.MAX_RECORD // KIB} KiB",
    f"a message is at most {MAX_MESSAGE // KIB**2} MiB",
    f"answers at most {handlers.BATCH_MESSAGES} messages",
    f"continues at most {tls.MAX_HANDSHAKES} TLS handshakes",
    f"accepts at most {acceptor.MAX_ACCEPTS} clients",
    f"reads at most {udp.MAX_READS} times from a datagram socket",
    f"(mode {unix.MODE:04o} whatever the umask",
    f"a stalled handshake is closed after {HANDSHAKE:g} s",
    f"may send {tls_records.MAX_WITHOUT_DATA} TLS records in a row without data",
    f"At most {run_window.MAX_RUNS} runs are remembered",
    f"At most {http.LIMITS.max_connections} connections of {http.LIMITS.max_lifetime:g} s each",
    f"{http.MAX_HEAD // KIB} KiB of a request",
]


def test_every_promise_names_the_tests_that_hold_it() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]
    assert len(rows) > 40
    for row in rows:
        held_by = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert held_by, row
        for file, test in held_by:
            assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_each_figure_is_that_of_the_code() -> None:
    assert [promise for promise in PROMISES if promise not in TEXT] == []


def test_the_ports_without_a_reply_are_those_of_the_code() -> None:
    listed = TEXT.partition("no reply to source ports ")[2].partition(", to the server's own")[0]
    assert {int(word) for word in listed.split() if word.isdecimal()} == udp_policy.SERVICE_PORTS


def test_limits_are_off_by_default_but_for_stalls_and_handshakes() -> None:
    assert (STALL, Limits().given) == (60, [])
    on = {name for name in Limits.__slots__ if getattr(Limits(), name)}
    assert on == {"stall_timeout", "handshake_timeout", "host_prefix"}  # the last is a number of bits, no limit
