"""What is reported of refused datagrams, and which probes among them are answered with a notice."""

from halloo._core.probe import NOTICE_SIZE, Probes, ServerTimestamp, read_notice, write_notice, write_timestamp
from halloo._server.refusals import (
    MAX_NOTICES,
    MAX_RUNS,
    MAX_SENDERS,
    NOTICE_INTERVAL,
    REPORT_INTERVAL,
    RateNotices,
    RefusalReports,
)

HOST = "203.0.113.5"
PROBE = Probes(7, 128).encode(3, 1)


def test_a_report_has_the_datagrams_since_the_last_one_of_the_sender() -> None:
    reports = RefusalReports()
    assert reports.record("rate_limit", HOST, 2, now=10) == 2
    assert reports.record("rate_limit", HOST, 3, now=10.1) is None
    assert reports.record("rate_limit", "203.0.113.6", 4, now=10.2) is None
    assert reports.record("denied", HOST, 1, now=10.3) == 1
    assert reports.record("rate_limit", "203.0.113.6", 5, now=10 + REPORT_INTERVAL) == 9
    assert reports.record("rate_limit", HOST, 1, now=10 + 2 * REPORT_INTERVAL) == 4


def test_the_senders_counted_are_bounded() -> None:
    reports = RefusalReports()
    reports.record("rate_limit", HOST, 1, now=0)
    for number in range(3 * MAX_SENDERS):
        assert reports.record("rate_limit", str(number), 1, now=0) is None
    assert len(reports._counts) <= MAX_SENDERS


def test_a_notice_is_shorter_than_its_probe_and_has_the_count_of_its_run() -> None:
    notices = RateNotices()
    notice = notices.notice(HOST, PROBE, 5, now=0)
    assert notice
    assert len(notice) < len(PROBE)
    assert read_notice(notice) == (notice.replace(b"hlo-", b"hlo."), 5)
    assert notices.notice(HOST, PROBE, 2, now=NOTICE_INTERVAL / 2) is None
    assert notices.notice("203.0.113.6", PROBE, 1, now=NOTICE_INTERVAL / 2)
    later = notices.notice(HOST, PROBE, 1, now=NOTICE_INTERVAL)
    assert later
    assert (read_notice(later) or (b"", 0))[1] == 8


def test_a_run_of_less_than_a_second_knows_most_of_what_was_refused() -> None:
    notices = RateNotices()
    sent = [read_notice(notices.notice(HOST, PROBE, 1, now=0) or b"") for _ in range(5000)]
    assert [notice[1] for notice in sent if notice] == [2**power for power in range(13)]


def test_other_datagrams_have_no_notice() -> None:
    timestamped = write_timestamp(PROBE, ServerTimestamp(1, 2, 3, 4, 5))
    short, unknown = PROBE[: NOTICE_SIZE - 1], b"hlo." + b"z" * 124
    for datagram in (b"", b"x" * 128, short, write_notice(PROBE, 1), timestamped, unknown):
        assert RateNotices().notice(HOST, datagram, 1, now=0) is None


def test_forged_senders_get_a_bounded_number_of_notices_and_of_memory() -> None:
    notices = RateNotices()
    sent = [notices.notice(str(number), PROBE, 1, now=0) for number in range(3 * MAX_RUNS)]
    assert sum(notice is not None for notice in sent) == MAX_NOTICES
    assert len(notices._refused) <= MAX_RUNS
