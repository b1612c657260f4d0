"""Invented check reports with every verdict, and targets with markup, formulas and control characters."""

from halloo._check.case import AnyCase, Evidence, Severity, Verdict
from halloo._check.diagnoses import Diagnosis
from halloo._check.results import CheckReport, Result

HOSTILE = (
    "<script>alert(1)</script> ]]> & \"'` | =cmd()\x1b[31m\x00\x07\r\ufffe\udcff\u202e **x** ![i](http://e.example) é🙂"
)
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1\nhalloo.errors.Oops: <b>ours</b>\n'


def case(name: str, *, severity: Severity = "MUST", does: str = "Send 4 bytes, then half-close.") -> AnyCase:
    """Make a case with a name such as t09_half_close."""
    return AnyCase(severity, "the reply, then the end within 3 s", "RFC 9293 3.6; nmap#962").of(name, does)


SHORT = case("t01_short")
HALF_CLOSE = case("t09_half_close")
HEAD_OF_LINE = case("t14_head_of_line")
FIVE = case("t13_five")
BURST = case("t24_burst_500", severity="SHOULD")
BACKPRESSURE = case("t16_backpressure", severity="SHOULD")
IDLE = case("t25_idle", severity="INFO")
NEXT = case("t35_next")
EMPTY = case("u03_empty", severity="SHOULD")

DIAGNOSIS = Diagnosis(
    id="closed-early",
    name="the connection is closed before everything was sent",
    why="The client's end means only that it has finished sending.",
    fixes={"python": "\nif not data:\n    writer.write_eof()\n", "c": "\nshutdown(fd, SHUT_WR);", "go": "conn.Close()"},
)
EVIDENCE = Evidence.at(34, b"A" * 34 + b"\x1b[31m<b>&|" + b"Z" * 40, b"A" * 34)


def result(
    of: AnyCase,
    verdict: Verdict,
    text: str = "",
    *,
    seconds: float = 0.012,
    evidence: Evidence | None = None,
    causes: tuple[Diagnosis, ...] = (),
) -> Result:
    """Make a result with a repeat command."""
    repeat = f"halloo check server --only {of.id} --seed 7 -- python echo.py PORT"
    return Result(of, verdict, text, seconds, evidence, "cut" if causes else "", causes, repeat)


FAILED = result(
    HALF_CLOSE, "FAIL", "the end came after 34 of 84 bytes", seconds=3.1, evidence=EVIDENCE, causes=(DIAGNOSIS,)
)
RESULTS = (
    result(SHORT, "PASS"),
    FAILED,
    result(FIVE, "BLOCKED", "needs T14", seconds=0.0),
    result(HEAD_OF_LINE, "ERROR", TRACE),
    result(BACKPRESSURE, "SKIP", "needs Linux", seconds=0.0),
    result(BURST, "WARN", "one took 1.0 s to connect"),
    result(IDLE, "INFO", "still works after 4 s"),
    result(NEXT, "FAIL", HOSTILE, evidence=Evidence(0, b"]]><script>", b"=cmd()`\x1b")),
)


def report(
    results: tuple[Result, ...] = RESULTS,
    *,
    target: str = "python echo.py PORT",
    scheme: str = "tcp",
    level: int = 4,
    strict: bool = False,
    trouble: str = "",
    supplied: dict[str, object] | None = None,
) -> CheckReport:
    """Make a report."""
    return CheckReport(
        target=target,
        kind="server",
        scheme=scheme,
        seed=7,
        level=level,
        strict=strict,
        seconds=12.3,
        results=results,
        started="2026-01-02T03:04:05+00:00",
        trouble=trouble,
        supplied=supplied or {},
    )


GOOD = report((result(SHORT, "PASS"), result(HALF_CLOSE, "PASS"), result(IDLE, "INFO", "60 s")), target="./good {port}")
HOSTILE_REPORT = report(
    tuple(result(each.case, each.verdict, HOSTILE, causes=each.causes) for each in RESULTS), target=HOSTILE
)
NOT_STARTED = report((), trouble=f"it ended with code 1 before it listened; it said: {HOSTILE!r}")
ALL = (report(), GOOD, HOSTILE_REPORT, NOT_STARTED)
