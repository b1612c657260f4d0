"""The options that several verbs share, and how their text becomes a value."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, Token

from halloo.core.units import SECOND, count, duration, rate, size
from halloo.errors import UnitError, UsageError

if TYPE_CHECKING:
    from halloo.net.certificates import Certificates, Trust


def _seconds(_type: object, tokens: Sequence[Token]) -> float:
    return duration(tokens[0].value) / SECOND


def switch(*names: str) -> Parameter:
    """Describe a switch that is only ever turned on."""
    return Parameter(name=names, negative=(), show_default=False)


def _reader(convert: Callable[..., Any], shown: Callable[[Any], str]) -> Parameter:
    return Parameter(converter=convert, show_default=shown, metavar="DURATION")


def _timeout(text: str) -> float | None:
    return None if text == "max" else duration(text) / SECOND


def _limit(read: Callable[[str], float | None], metavar: str) -> Parameter:
    """Describe a limit, for which `max` is none."""
    return Parameter(
        converter=lambda _type, tokens: read(tokens[0].value),
        show_default=lambda value: "max" if value is None else f"{value:g}s",
        metavar=metavar,
    )


Seconds = Annotated[float, _reader(_seconds, lambda value: f"{value:g}s")]
Wait = Annotated[Seconds, Parameter(name=("--wait", "-W"))]
Quiet = Annotated[bool, switch("--quiet", "-q")]
Four = Annotated[bool, switch("-4", "--ipv4")]
Six = Annotated[bool, switch("-6", "--ipv6")]
Reply = Annotated[bool, switch("--reply")]
Insecure = Annotated[bool, switch("--insecure")]


Most = Annotated[int | None, _limit(count, "COUNT")]
Size = Annotated[int | None, _limit(size, "SIZE")]
Rate = Annotated[int | None, _limit(rate, "RATE")]
Timeout = Annotated[float | None, _limit(_timeout, "DURATION")]
Networks = Annotated[
    tuple[str, ...], Parameter(consume_multiple=True, negative=(), show_default=False, metavar="NETWORK")
]


def workers(text: str) -> int:
    """Read a number of processes; `auto` is one for each core that this process may use. Raises UnitError."""
    if text == "auto":
        cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        return len(cores)
    number = count(text)
    if not number:
        raise UnitError(f"{text!r} is no number of workers", "write 1, 4 or auto")
    return number


def family(four: bool, six: bool) -> int | None:
    """Choose the family of the switches -4 and -6; both are as good as none."""
    if four == six:
        return None
    return 4 if four else 6


def trust(ca: str | None, fingerprint: str | None, insecure: bool, cert: str | None, key: str | None) -> "Trust | None":
    """Gather whom to believe, and warn of believing anybody; None when nothing is said."""
    if not (ca or fingerprint or insecure or cert or key):
        return None
    from halloo.net.certificates import Trust  # noqa: PLC0415 - ssl is slow to import, and tcp:// does not need it

    _owned(cert, key)
    if insecure and not fingerprint:
        print("halloo: --insecure: nobody knows who answers; it may be anybody on the way", file=sys.stderr)
    return Trust(ca=ca, fingerprint=fingerprint, insecure=insecure, cert=cert, key=key)


def certificates(cert: str | None, key: str | None, client_ca: str | None) -> "Certificates | None":
    """Gather what clients are shown, and asked for; None when nothing is said."""
    if not (cert or key or client_ca):
        return None
    from halloo.net.certificates import Certificates  # noqa: PLC0415 - as above

    _owned(cert, key)
    return Certificates(cert=cert, key=key, client_ca=client_ca)


def _owned(cert: str | None, key: str | None) -> None:
    if key and not cert:
        raise UsageError("a key without its certificate", "add --cert FILE")
