"""Read and write how a packet asks to be treated on its way (DSCP, RFC 2474): `EF`, `AF41`, `CS1` or 0 to 63.

Knows the names and their numbers. Whether anybody on the way obeys is another matter.
"""

from halloo.errors import UsageError

HIGHEST = 63  # six bits
NAMES = {
    "BE": 0,  # best effort, as everything that asks for nothing: CS0 by another name
    **{f"CS{precedence}": 8 * precedence for precedence in range(8)},
    "LE": 1,  # RFC 8622
    **{f"AF{kind}{drop}": 8 * kind + 2 * drop for kind in range(1, 5) for drop in range(1, 4)},  # RFC 2597
    "VA": 44,  # RFC 5865
    "EF": 46,  # RFC 3246
}
_BY_NUMBER = {number: name for name, number in reversed(NAMES.items())}


def dscp(text: str) -> int:
    """Read a name or a number. Raises UsageError.

    >>> dscp("ef"), dscp("12")
    (46, 12)
    """
    words = text.strip()
    if words.upper() in NAMES:
        return NAMES[words.upper()]
    if words.isascii() and words.isdigit() and len(words) <= len(str(HIGHEST)) and int(words) <= HIGHEST:
        return int(words)
    raise UsageError(f"{text!r} is no DSCP", f"write EF, AF11 to AF43, CS0 to CS7, VA, BE, LE, or 0 to {HIGHEST}")


def show_dscp(number: int) -> str:
    """Write it by its name, where it has one.

    >>> show_dscp(46), show_dscp(47)
    ('EF', '47')
    """
    return _BY_NUMBER.get(number, str(number))
