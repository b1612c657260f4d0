"""The options that several verbs share, and how their text becomes a value."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from halloo.core.units import SECOND, duration


def _seconds(_type: object, tokens: Sequence[Token]) -> float:
    return duration(tokens[0].value) / SECOND


def _flag(*names: str) -> Parameter:
    """Describe a switch that is only ever turned on."""
    return Parameter(name=names, negative=(), show_default=False)


def _reader(convert: Callable[..., Any], shown: Callable[[Any], str]) -> Parameter:
    return Parameter(converter=convert, show_default=shown, metavar="DURATION")


Seconds = Annotated[float, _reader(_seconds, lambda value: f"{value:g}s")]
Wait = Annotated[Seconds, Parameter(name=("--wait", "-W"))]
Quiet = Annotated[bool, _flag("--quiet", "-q")]
Four = Annotated[bool, _flag("-4", "--ipv4")]
Six = Annotated[bool, _flag("-6", "--ipv6")]
Reply = Annotated[bool, _flag("--reply")]


def family(four: bool, six: bool) -> int | None:
    """Choose the family of the switches -4 and -6; both are as good as none."""
    if four == six:
        return None
    return 4 if four else 6
