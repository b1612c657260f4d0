from halloo.check.case import Evidence
from halloo.report.hexdump import dump


def test_both_sides_are_shown_with_the_first_difference_marked() -> None:
    assert dump(Evidence.at(18, b"abcdefghijklmnopqrst", b"abcdefghijklmnopqrXt")) == (
        "at offset 18\n"
        "expected:\n"
        " 0  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70 |abcdefghijklmnop|\n"
        "16  71 72 73 74                                     |qrst|\n"
        "          ^^\n"
        "came:\n"
        " 0  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70 |abcdefghijklmnop|\n"
        "16  71 72 58 74                                     |qrXt|\n"
        "          ^^"
    )


def test_where_one_side_ends_is_said() -> None:
    assert dump(Evidence.at(2, b"hi!\n", b"hi")).endswith("|hi|\n 2  (nothing more came)")
    assert "|hi|\n 2  (nothing more should come)\ncame:" in dump(Evidence.at(2, b"hi", b"hi!\n"))


def test_nothing_at_all_is_said_too() -> None:
    assert dump(Evidence.at(0, b"hi", b"")).endswith("came:\n 0  (nothing more came)")


def test_thirty_two_bytes_on_either_side_are_enough() -> None:
    shown = dump(Evidence.at(3_959_954, b"", b"", base=0))
    assert shown.startswith("at offset 3,959,954\n")
    rows = dump(Evidence.at(100, bytes(200), bytes(100) + b"\1" * 100)).splitlines()
    assert [row.split()[0] for row in rows if "|" in row] == ["68", "84", "100", "116"] * 2


def test_offsets_are_those_of_the_stream() -> None:
    assert "1000002  (nothing more came)" in dump(Evidence.at(2, b"hi!", b"hi", base=1_000_000))


def test_no_byte_reaches_the_terminal() -> None:
    shown = dump(Evidence(0, bytes(range(256)), b"\x1b[31m\x9b"))
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert shown.isascii()


def test_it_fits_a_terminal() -> None:
    wide = dump(Evidence.at(32 << 20, b"", b"", base=0)) + dump(Evidence(32 << 20, bytes(64), bytes(63)))
    assert max(map(len, wide.splitlines())) <= 76
