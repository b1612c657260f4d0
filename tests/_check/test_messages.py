"""Servers and clients whose protocol is not lines of text are checked with messages that a function makes."""

import struct

import pytest

from halloo._check.case import ANY_BYTES, MESSAGE_CASES
from halloo._check.catalogue import cases
from halloo._check.execution import RunOptions, run_case
from halloo._check.messages import Message, Messages
from halloo._check.results import Result
from halloo._check.scheduling import run_all
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec, parse_messages, parse_transform
from halloo.errors import UsageError
from tests._check import sums
from tests._check.programs import python

CASES = {case.id: case for case in cases()}


def run(spec: CheckSpec, *ids: str) -> tuple[Result, ...]:
    return run_all([CASES[each] for each in ids], lambda case: run_case(case, spec, RunOptions()), jobs=4)


def verdicts(spec: CheckSpec, *ids: str) -> dict[str, str]:
    return {result.case.id: result.verdict for result in run(spec, *ids)}


def server(code: str, scheme: str = "tcp") -> ServerSpec:
    return ServerSpec(command=python(code), scheme=scheme, messages=sums.MESSAGES)


def client(code: str) -> ClientSpec:
    return ClientSpec(command=python(code, "HOST", "PORT"), messages=sums.MESSAGES)


def test_a_message_is_a_request_a_reply_and_what_is_typed() -> None:
    request, reply = sums.request(1), sums.answer(sums.request(1))
    assert sums.MESSAGES.message(1) == Message(request, reply, "4 40")
    echoed = parse_messages("tests._check.sums:request")
    assert echoed
    assert (str(echoed), echoed.message(1)) == ("tests._check.sums:request", Message(request, request))
    answered = parse_messages("tests._check.sums:request", parse_transform("tests._check.sums:answer"))
    assert answered
    assert answered.message(1) == Message(request, reply)
    assert answered.reply_to(request) == reply
    assert answered.reply_to(b"else") is None


@pytest.mark.parametrize("made", [b"", "text", (b"request", "reply"), None, ZeroDivisionError()])
def test_a_function_that_makes_no_message_is_a_usage_error(made: object) -> None:
    def make(_: int) -> object:
        if isinstance(made, Exception):
            raise made
        return made

    with pytest.raises(UsageError, match="this"):
        Messages("this", make)


@pytest.mark.parametrize("text", ["upper", "tests._check.sums:nothing", "no_such_module:message"])
def test_messages_are_a_function_of_a_module(text: str) -> None:
    with pytest.raises(UsageError):
        parse_messages(text)


def test_a_client_needs_something_to_type() -> None:
    silent = Messages("this", sums.request)
    with pytest.raises(UsageError, match="typed"):
        ClientSpec(command=("client", "PORT"), messages=silent)
    ClientSpec(command=("client", "PORT"), messages=silent, stdin="none")
    ClientSpec(command=("client", "PORT"), messages=silent, message="3 0")


def test_a_right_server_passes() -> None:
    stream, datagrams = ("T01", "T05", "T06", "T09", "T13", "T35"), ("U01", "U07", "U09")
    assert verdicts(server(sums.SERVER), *stream) == dict.fromkeys(stream, "PASS")
    assert verdicts(server(sums.UDP_SERVER, "udp"), *datagrams) == dict.fromkeys(datagrams, "PASS")


def test_a_wrong_server_fails() -> None:
    wrong = server(sums.SERVER.replace("sum(", "max("))  # of 3 and 0, then of 4 and 40
    assert verdicts(wrong, "T01", "T05") == {"T01": "PASS", "T05": "FAIL"}
    assert verdicts(server(sums.SERVER.replace(", socket.MSG_WAITALL", "")), "T06") == {"T06": "FAIL"}


def test_cases_that_need_an_echo_are_skipped() -> None:
    for case in CASES.values():
        if case.id[0] != "C" and case.id not in MESSAGE_CASES:
            result = run_case(case, server("never started"), RunOptions())
            assert (result.verdict, result.text) == ("SKIP", ANY_BYTES)


def test_a_client_is_judged_by_the_wire_and_its_exit_code() -> None:
    ids = ("C01", "C02", "C03", "C05", "C06", "C07", "C11", "C12", "C13", "C17", "C22")
    skipped = {"C03": "SKIP", "C22": "SKIP"}
    assert verdicts(client(sums.CLIENT), *ids) == dict.fromkeys(ids, "PASS") | skipped


def test_a_client_that_sends_something_else_is_shown_both() -> None:
    (result,) = run(client(sums.CLIENT.replace('"!ii"', '"<ii"')), "C01")
    assert (result.verdict, result.pattern) == ("FAIL", "other-request")
    assert repr(struct.pack("<ii", 3, 0)) in result.text
    assert repr(struct.pack("!ii", 3, 0)) in result.text


def test_a_client_that_takes_a_piece_for_the_reply_fails() -> None:
    once = client(sums.CLIENT.replace("while len(data) < count:", "if True:"))
    assert verdicts(once, "C01", "C05") == {"C01": "PASS", "C05": "FAIL"}
