import json
import math
import os

import pytest

from halloo._output.json import plain_json, system, version


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_nan_and_infinity_are_null(value: float | None) -> None:
    assert plain_json({"p99_ns": value}) == {"p99_ns": None}


def test_numbers_stay_numbers_and_sequences_become_lists() -> None:
    assert plain_json({"sizes": (1, 2.5), 3: {"on": True}}) == {"sizes": [1, 2.5], "3": {"on": True}}


def test_the_version_and_the_system_are_reported() -> None:
    assert version()
    assert system()


def test_text_that_is_not_unicode_is_escaped_because_strict_parsers_refuse_it() -> None:
    text = json.dumps(plain_json({"path": os.fsdecode(b"/run/\xff")}))
    assert json.loads(text)["path"].encode() == b"/run/\\udcff"
