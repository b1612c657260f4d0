from hypothesis import given
from hypothesis import strategies as st

from halloo.core.copies import RECENT, Copies

datagrams = st.lists(st.binary(max_size=2), max_size=20)


def sent(*sent_before: bytes) -> Copies:
    copies = Copies()
    for datagram in sent_before:
        copies.send(datagram)
    return copies


def test_an_echo_that_came_already_is_a_copy() -> None:
    copies = sent(b"one", b"two")
    assert [copies.receive(answer) for answer in (b"one", b"one", b"two")] == [False, True, False]


def test_what_was_sent_twice_may_come_twice() -> None:
    copies = sent(b"same", b"same")
    assert [copies.receive(b"same") for _ in range(3)] == [False, False, True]


def test_empty_datagrams_are_like_any_other() -> None:
    copies = sent(b"")
    assert [copies.receive(b""), copies.receive(b"")] == [False, True]


@given(st.data(), datagrams)
def test_the_answers_of_an_echo_are_no_copies_in_any_order(chosen: st.DataObject, originals: list[bytes]) -> None:
    copies = sent(*originals)
    assert not any(copies.receive(answer) for answer in chosen.draw(st.permutations(originals)))


@given(datagrams)
def test_whatever_a_peer_that_is_no_echo_answers_is_no_copy(originals: list[bytes]) -> None:
    copies = sent(b"question", *originals)
    assert not copies.receive(b"an answer of its own")
    assert not any(copies.receive(b"ok") for _ in originals)


def test_an_echo_of_long_ago_is_taken_for_an_answer() -> None:
    copies = sent(b"old")
    assert not copies.receive(b"old")
    for number in range(RECENT):
        copies.send(b"%d" % number)
        assert not copies.receive(b"%d" % number)
    assert not copies.receive(b"old")
