import json
import math
import os

from halloo._output.json import plain_json, system, version


def test_values_become_what_json_can_represent() -> None:
    assert plain_json([math.nan, math.inf, -math.inf, None]) == [None] * 4
    assert plain_json({"sizes": (1, 2.5), 3: {"on": True}}) == {"sizes": [1, 2.5], "3": {"on": True}}
    assert version()
    assert system()


def test_text_that_is_not_unicode_is_escaped_because_strict_parsers_refuse_it() -> None:
    text = json.dumps(plain_json({"path": os.fsdecode(b"/run/\xff")}))
    assert json.loads(text)["path"].encode() == b"/run/\\udcff"
