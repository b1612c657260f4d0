import math

import pytest

from halloo._output.json import plain_json, system, version


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_null(value: float | None) -> None:
    assert plain_json({"p99_ns": value}) == {"p99_ns": None}


def test_numbers_stay_numbers_and_sequences_become_lists() -> None:
    assert plain_json({"sizes": (1, 2.5), 3: {"on": True}}) == {"sizes": [1, 2.5], "3": {"on": True}}


def test_a_report_says_which_halloo_and_system_it_is_from() -> None:
    assert version()
    assert system()
