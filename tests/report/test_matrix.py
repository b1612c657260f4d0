from halloo.report.matrix import columns, rows
from tests.report.invented import BURST, EMPTY, SHORT, report, result


def test_a_row_has_what_came_of_a_case_with_each_target() -> None:
    short, burst, empty = result(SHORT, "PASS"), result(BURST, "FAIL"), result(EMPTY, "WARN")
    reports = [report((empty,), scheme="udp"), report((burst, short))]
    assert [(case.id, results) for case, results in rows(reports)] == [
        ("T01", [None, short]),
        ("T24", [None, burst]),
        ("U03", [empty, None]),
    ]


def test_columns_are_named_by_their_targets() -> None:
    assert columns([report(target="a\n"), report(target="b")]) == ["a\\n", "b"]


def test_columns_have_their_schemes_where_they_differ() -> None:
    assert columns([report(target="a"), report(target="a", scheme="udp")]) == ["a (tcp)", "a (udp)"]
