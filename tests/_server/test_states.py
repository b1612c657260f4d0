"""The states of a descriptor."""

from halloo._server import states


def test_the_states_are_numbered_without_a_gap_and_each_connected_one_is_among_them() -> None:
    numbers = [value for name, value in vars(states).items() if name.isupper() and isinstance(value, int)]
    assert sorted(numbers) == list(range(states.STATES + 1))
    assert {*states.READING} < {*states.CONNECTED} < {*range(states.STATES)}
