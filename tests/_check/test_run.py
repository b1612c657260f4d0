"""Tests of a check and its reports; the cases themselves are tested with the mutants."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from halloo._check.report.exports import gradescope, junit
from halloo._check.report.html import check_html
from halloo._check.report.json import check_json, read_reports
from halloo._check.report.markdown import check_markdown
from halloo._check.report.text import check_text
from halloo._check.results import Result, exit_code_of_all
from halloo._check.sockets import free_port, is_free
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec, Transform
from halloo._cli.check import Choice, run_each
from halloo._cli.check_files import Outputs
from halloo._core.address import parse
from halloo._server.server import Server
from halloo.errors import UsageError
from tests._check.programs import ECHO as ECHO_CODE
from tests._check.programs import LISTEN, python
from tests.peers import unused_port
from tests.programs import PYTHON

CORRECT = (PYTHON, "-m", "tests._check.reference", "PORT")
FAILS_TO_START = (PYTHON, "-c", "import sys; sys.exit('no server today')")
ECHO = ServerSpec(command=CORRECT)
CONNECT = "import socket, sys\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
FIRST, LEVEL_1 = Choice(only=("T01",)), Choice(level=1)


def rows(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(path.read_text()))]


# The target.


def test_exactly_one_server_has_to_be_named() -> None:
    for address, command in ((None, ()), (parse("localhost"), CORRECT)):
        with pytest.raises(UsageError, match="name one server to check; an address, or its command"):
            ServerSpec(address=address, command=command)


def test_a_public_address_has_to_be_allowed() -> None:
    with pytest.raises(UsageError, match=r"8\.8\.8\.8 is neither .* name it with allow_remote="):
        ServerSpec(address=parse("8.8.8.8"))
    assert ServerSpec(address=parse("8.8.8.8"), allow_remote=("8.8.8.8",)).address == parse("8.8.8.8")
    for host in ("localhost", "127.0.0.2", "10.1.2.3", "[fe80::1]", "unix:/tmp/echo", "udp://localhost"):
        assert ServerSpec(address=parse(host)).address == parse(host)


def test_a_client_needs_a_placeholder_for_the_port() -> None:
    with pytest.raises(UsageError, match="has no placeholder for the port; write PORT in its place, or give port="):
        ClientSpec(command=("client", "HOST"))
    assert ClientSpec(command=("client", "HOST"), port=8888).port == 8888


def test_numbers_have_limits() -> None:
    for port in (-1, 65536):
        for kind in (ServerSpec, ClientSpec):
            with pytest.raises(UsageError, match=f"port must be 0 to 65535, not {port}"):
                kind(command=CORRECT, port=port)
    for argument, value in (("seed", -1), ("jobs", 0), ("jobs", -1)):
        wrong: dict[str, Any] = {argument: value}
        with pytest.raises(UsageError, match=f"^{argument} must be at least {int(argument == 'jobs')}, not {value}$"):
            Choice(**wrong)


# Results and reports.


def test_a_running_server_is_checked_by_its_address_without_the_cases_that_need_its_process() -> None:
    with Server(greeting=b"welcome\n") as server:
        spec = ServerSpec(address=server.address, greeting=True)
        report = Choice(only=("T01", "T21")).check(spec)
        assert [result.verdict for result in report.results] == ["PASS", "SKIP"]
        assert FIRST.check(replace(spec, greeting=False)).exit_code == 1


def troubled(spec: CheckSpec, *, choice: Choice = LEVEL_1) -> str:
    """Check that no case can be run against a target, and return what is reported: one finding, no list of cases."""
    seen: list[Result] = []
    report = choice.check(spec, on_result=seen.append)
    assert {result.verdict for result in report.results} == {"BLOCKED"}
    assert (seen, report.exit_code) == ([], 1)
    text = check_text(report)
    for line in report.trouble.splitlines():
        for form in (text, check_html([report]), check_markdown([report]), junit([report]), gradescope([report])):
            assert escaped(line) in escaped(form)
    assert not re.search(r"[TU]\d\d |no case could be|likely", text + check_markdown([report]) + check_html([report]))
    return report.trouble


def escaped(text: str) -> str:
    """Return a text as all formats write it, but for its quotes and backslashes."""
    return re.sub(r'\\|["\'`<>]|&\S*?;', "", text)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_program_that_does_not_start_is_one_finding(jobs: int) -> None:
    why = troubled(ServerSpec(command=FAILS_TO_START), choice=replace(LEVEL_1, jobs=jobs))
    assert "no server today" in why


def test_nothing_listening_at_an_address_is_one_finding() -> None:
    port = unused_port()
    for host in ("localhost", "127.0.0.1", "udp://localhost", "udp://127.0.0.1"):
        spec = ServerSpec(address=parse(f"{host}:{port}"), scheme=host.partition(":")[0] if "udp" in host else "tcp")
        place = f"{host.removeprefix('udp://')}:{port}"
        choice = Choice(only=("udp",)) if "udp" in host else LEVEL_1
        why = f"nothing is listening on {place} (connection refused); start the server, then check it"
        assert troubled(spec, choice=choice) == why


# A mistake of programming, which does not depend on what a client sends.
ENDS = f"{LISTEN}while True:\n    conn, peer = s.accept()\n    conn.sendall(conn.recv(99, flags))"
THREADS = f"""import threading\n{LISTEN}
def serve(conn):
    conn.sendall("Echo: " + conn.recv(99))
while True:
    threading.Thread(target=serve, args=s.accept()[:1]).start()
"""
DATAGRAMS = """import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.sendto(s.recvfrom(65535).data)
"""
CRASHES = f"import ctypes\n{LISTEN}conn, peer = s.accept()\nctypes.string_at(0)"


@pytest.mark.parametrize(
    ("code", "why", "words"),
    [
        ("print 'listening'", "exited with code 1 before it listened", "SyntaxError: Missing parentheses"),
        ("import socket\nsocket.creat_server(9)", "exited with code 1 before it listened", "AttributeError: module"),
        (ENDS, "ends with NameError at its first client", "NameError: name 'flags' is not defined"),
        (THREADS, "fails with TypeError at its first client", "TypeError: can only concatenate str"),
        (DATAGRAMS, "ends with AttributeError at its first client", "AttributeError: 'tuple' object"),
        (CRASHES, "ends with SIGSEGV at its first client; it printed nothing", ""),
    ],
    ids=["syntax", "start", "ends", "threads", "datagrams", "crashes"],
)
def test_a_server_with_a_mistake_of_programming_is_told_its_own_words(code: str, why: str, words: str) -> None:
    choice, scheme = (Choice(only=("udp",)), "udp") if code == DATAGRAMS else (LEVEL_1, "tcp")
    sentence, _, printed = troubled(ServerSpec(command=python(code), scheme=scheme), choice=choice).partition("\n")
    assert sentence == f"the server {why}"
    assert words in printed
    assert ("This is Python 2: print" in printed) == ("print 'listening'" in code)


@pytest.mark.parametrize(
    ("code", "why", "words"),
    [
        ("print 'hello'", "does not connect", "SyntaxError: Missing parentheses"),
        ("raise SystemExit('usage: client')", "does not connect", "usage: client"),
        ("pass", "does not connect; it printed nothing", ""),
        (f"{CONNECT}s.send('hello')", "ends with TypeError at its first message", "This is Python 2: s.send("),
        (f"{CONNECT}s.send(b'hello')\nshow(s.recv(9))", "ends with NameError at its first message", "name 'show'"),
    ],
    ids=["syntax", "usage", "silent", "Python 2", "mistake"],
)
def test_a_client_that_no_case_can_be_run_with_is_told_its_own_words(code: str, why: str, words: str) -> None:
    spec = ClientSpec(command=python(code, "PORT"), stdin="none")
    sentence, _, printed = troubled(spec).partition("\n")
    assert sentence == f"the client {why}"
    assert words in printed


def test_an_error_that_depends_on_the_input_stops_nothing() -> None:
    decodes = ECHO_CODE.replace("conn.sendall(data)", "conn.sendall(data.decode().encode())")
    assert decodes != ECHO_CODE
    report = Choice(only=("T04", "T09")).check(ServerSpec(command=python(decodes)))
    assert [(result.verdict, result.pattern) for result in report.results] == [
        ("FAIL", "ended exit-1 UnicodeDecodeError"),
        ("PASS", ""),
    ]
    assert report.results[0].text.splitlines()[-1].startswith("UnicodeDecodeError: 'utf-8' codec can't decode")


def test_a_server_with_a_fixed_port_gets_the_same_verdicts_twice_though_it_closes_first() -> None:
    """It sets no SO_REUSEADDR: its port in TIME-WAIT would fail or delay the next start."""
    port = free_port("tcp")
    code = """import socket
s = socket.socket()
s.bind(("", PORT))
s.listen(5)
while True:
    conn, peer = s.accept()
    conn.send(conn.recv(1024))
    conn.close()
""".replace("PORT", str(port))
    spec, choice = ServerSpec(command=python(code, "fixed"), port=port), Choice(only=("T01", "T02", "T05", "T09"))
    verdicts = [[result.verdict for result in choice.check(spec).results] for _ in range(2)]
    assert verdicts == [["FAIL", "FAIL", "FAIL", "PASS"]] * 2
    assert is_free("tcp", port)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 0)])
def test_an_interrupted_check_reports_the_cases_that_ended(error: type[BaseException], code: int) -> None:
    with Server() as server:
        for jobs in (1, 2):
            seen: list[Result] = []

            def interrupt(result: Result, seen: list[Result] = seen) -> None:
                seen.append(result)
                if len(seen) == 2:
                    raise error

            choice = Choice(only=("T01", "T02", "T03"), jobs=jobs)
            report = choice.check(ServerSpec(address=server.address), on_result=interrupt)
            assert [result.verdict for result in report.results] == ["PASS", "PASS", "BLOCKED"]
            assert (report.results[2].text, report.exit_code) == ("the check was interrupted", code)
            (again,) = read_reports(check_json(report))
            assert again.exit_code == code


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_halloo_is_no_failure_and_the_report_has_what_ended(jobs: int) -> None:
    def fail(result: Result) -> None:
        if result.case.id == "T02":
            raise ValueError("it is")

    with Server() as server:
        choice = Choice(only=("T01", "T02", "T03"), jobs=jobs)
        report = choice.check(ServerSpec(address=server.address), on_result=fail)
    assert isinstance(report.error, ValueError)
    assert [result.verdict for result in report.results][:2] == ["PASS", "PASS"]
    assert (report.results[2].text, report.exit_code) == ("the check ended early: ValueError: it is", 2)


def test_what_a_function_of_the_user_raises_is_an_error_of_its_case() -> None:
    def leave(_: bytes) -> bytes:
        raise SystemExit(0)

    report = Choice(only=("T01", "T02")).check(ServerSpec(command=CORRECT, expect=Transform("f", leave)))
    assert {each.verdict for each in report.results} == {"ERROR"}
    assert "SystemExit" in report.results[0].text


def test_the_exit_code_says_who_failed_and_of_several_reports_the_gravest_counts() -> None:
    passed = FIRST.check(ECHO)
    (result,) = passed.results
    failed, not_run = (replace(passed, results=(result, replace(result, verdict=each))) for each in ("FAIL", "ERROR"))
    interrupted, both = replace(passed, interrupted=True), replace(passed, results=(*failed.results, *not_run.results))
    assert [each.exit_code for each in (passed, failed, not_run, both, interrupted)] == [0, 1, 2, 1, 130]
    assert exit_code_of_all([passed, passed]) == 0
    assert exit_code_of_all([passed, not_run]) == 2
    assert exit_code_of_all([failed, not_run]) == 1
    assert exit_code_of_all([interrupted, failed, not_run]) == 130


# Many submissions.


COMMAND = (PYTHON, "-c", "exec(open('DIR/server.py').read())", "PORT")


def test_each_submission_has_a_row_and_a_run_over_them_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    echo = "import runpy; runpy.run_module('tests._check.reference', run_name='__main__')"
    for name, program in (("anna", echo), ("bob", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "server.py").write_text(program)
    outputs = Outputs(json=str(tmp_path / "class.json"), csv=str(tmp_path / "marks.csv"))
    braces = tuple(word.replace("DIR", "{dir}") for word in COMMAND)
    run_each(f"{tmp_path}/anna", ServerSpec(command=braces), FIRST, outputs)
    reports = run_each(f"{tmp_path}/*", ServerSpec(command=COMMAND), FIRST, outputs, resume=True)
    assert [(Path(report.target).name, report.exit_code) for report in reports] == [("anna", 0), ("bob", 1)]
    assert [row["points"] for row in rows(tmp_path / "marks.csv")] == ["100", "0"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_is_no_file_gets_the_reports_of_all_submissions_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("anna", "bob"):
        (tmp_path / name).mkdir()
    run_each(f"{tmp_path}/*", ServerSpec(command=CORRECT), FIRST, Outputs(csv="-"))
    assert [row["points"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["100", "100"]


def test_a_pattern_without_matches_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder matches"):
        run_each(f"{tmp_path}/*", ServerSpec(command=COMMAND), FIRST, Outputs())
