"""On which way probes were lost: over an invented way there and back, with the server's own counting."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo.core.direction import KEPT, Direction, Ways
from halloo.core.probe import ASKING, WINDOW, Heading, Stamp
from halloo.core.runs import Runs

FATES = ("answered", "there", "back", "refused")


@dataclass
class Server:
    """Stamps as a server does; it begins anew when it is told to."""

    runs: Runs

    def stamp(self, number: int, *, refused: bool = False) -> Stamp:
        return Stamp(0, 0, *self.runs.arrive(Heading(1, number, 0, ASKING), refused=refused))


@pytest.fixture
def server() -> Server:
    return Server(Runs())


@pytest.fixture
def direction() -> Direction:
    return Direction()


def sent(fates: list[str]) -> tuple[Direction, int]:
    """Send a probe for each fate; give what is known then, and how many answers came."""
    server, direction, came = Server(Runs()), Direction(), 0
    for number, fate in enumerate(fates):
        if fate == "there":
            continue
        stamp = server.stamp(number, refused=fate == "refused")
        if fate == "answered":
            direction.note(number, stamp)
            came += 1
    return direction, came


def test_without_stamps_nothing_is_known(direction: Direction) -> None:
    assert direction.ways(sent=5, came=5) is None
    assert direction.way(3) is None


def test_losses_are_told_apart() -> None:
    direction, came = sent(["answered", "there", "back", "refused", "there", "answered", "back"])
    assert direction.ways(sent=7, came=came) == Ways(there=2, back=1, refused=1, unknown=1)


def test_each_loss_is_told_by_the_windows_of_later_stamps() -> None:
    direction, _ = sent(["answered", "there", "back", "answered", "back"])
    assert [direction.way(number) for number in (1, 2, 4)] == ["there", "back", None]


def test_what_the_server_may_have_refused_was_not_lost_on_the_way_back() -> None:
    direction, _ = sent(["answered", "refused", "answered", "back", "answered"])
    assert [direction.way(number) for number in (1, 3)] == [None, "back"]


def test_a_window_reaches_63_back() -> None:
    for distance, way in ((WINDOW - 1, "there"), (WINDOW, None)):
        direction, _ = sent(["there"] * distance + ["answered"])
        assert direction.way(0) == way


def test_one_that_overtook_another_there_is_counted_once(server: Server, direction: Direction) -> None:
    server.stamp(1)  # and its answer is lost
    direction.note(0, server.stamp(0))
    assert direction.ways(sent=2, came=1) == Ways(there=0, back=1, refused=0, unknown=0)


def test_one_that_came_late_to_the_server_was_not_lost(server: Server, direction: Direction) -> None:
    for number in (0, 2, 1, 3):
        direction.note(number, server.stamp(number))
    assert direction.ways(sent=4, came=4) == Ways(0, 0, 0, 0)


def test_overtaking_both_there_and_back_is_no_new_beginning(server: Server, direction: Direction) -> None:
    stamps = {number: server.stamp(number) for number in (0, 1, 2, 4, 3)}
    for number in (0, 1, 2, 3, 4):
        direction.note(number, stamps[number])
    assert direction.ways(sent=5, came=5) == Ways(0, 0, 0, 0)


@pytest.mark.parametrize("before", [1, 2, 50])
def test_a_server_that_began_anew_tells_nothing(before: int, direction: Direction) -> None:
    first, second = Server(Runs()), Server(Runs())
    for number in range(before):
        direction.note(number, first.stamp(number))
    for number in range(before + 1, before + 4):
        direction.note(number, second.stamp(number))
    assert direction.ways(sent=before + 4, came=before + 3) is None
    assert direction.way(before) is None


def test_a_long_run_takes_bounded_memory_and_its_counts_stay_right(server: Server, direction: Direction) -> None:
    lost = {number for number in range(3 * KEPT) if number % 7 == 3}
    for number in range(3 * KEPT):
        if number not in lost:
            direction.note(number, server.stamp(number))
    assert direction.ways(3 * KEPT, 3 * KEPT - len(lost)) == Ways(len(lost), 0, 0, 0)
    assert direction.way(sorted(lost)[-5]) == "there"
    assert direction.way(3) is None


# Whatever is lost.


@given(st.lists(st.sampled_from(FATES), min_size=1, max_size=200))
@example(["there", "answered"])
@example(["refused"] * 100 + ["answered"])
def test_every_loss_is_counted_on_its_way(fates: list[str]) -> None:
    direction, came = sent(fates)
    if not came:
        assert direction.ways(len(fates), came) is None
        return
    known = len(fates) - fates[::-1].index("answered")
    there, back, refused = (fates[:known].count(fate) for fate in FATES[1:])
    assert direction.ways(len(fates), came) == Ways(there, back, refused, len(fates) - known)


@given(st.lists(st.sampled_from(FATES), max_size=200))
def test_no_loss_is_told_to_be_on_the_other_way(fates: list[str]) -> None:
    direction, _ = sent(fates)
    for number, fate in enumerate(fates):
        if fate != "answered":
            assert direction.way(number) in (fate, None)


@given(st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_with_disorder_no_more_is_lost_than_did_not_come(probes: list[tuple[str, int, int]]) -> None:
    server, direction, came = Server(Runs()), Direction(), 0
    there = sorted(range(len(probes)), key=lambda number: number + probes[number][1])
    stamps = {n: server.stamp(n, refused=probes[n][0] == "refused") for n in there if probes[n][0] != "there"}
    answers = [n for n in there if probes[n][0] == "answered"]
    for number in sorted(answers, key=lambda number: there.index(number) + probes[number][2]):
        direction.note(number, stamps[number])
        came += 1
    ways = direction.ways(len(probes), came)
    if ways is not None:
        assert ways.there + ways.back + ways.refused + ways.unknown == len(probes) - came
        assert min(ways.there, ways.back, ways.refused, ways.unknown) >= 0
