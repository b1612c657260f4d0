"""All cases, in the order of their ids, and how some of them are chosen.

Knows the rooms of cases. To add a case is to write its function.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from halloo._check.case import HIGHEST, QUICK, Case, cases_in
from halloo.errors import UsageError


@cache
def cases() -> tuple[Case, ...]:
    """Give all cases."""
    from halloo._check.client import cases as client  # noqa: PLC0415 - the cases import the catalogue's neighbours
    from halloo._check.server import cases as server  # noqa: PLC0415 - as above

    found = [each for module in (*server.MODULES, *client.MODULES) for each in cases_in(vars(module).values())]
    return tuple(sorted(found, key=lambda each: ("TUC".index(each.id[0]), each.id)))


def chosen(
    known: Iterable[Case], *, only: Sequence[str] = (), level: int = HIGHEST, quick: bool = False, scheme: str = ""
) -> tuple[Case, ...]:
    """Choose cases for a scheme: those of `only` (tcp, tcp/T11, T11), otherwise those up to a level, or the quick ones.

    Raises UsageError when none is left.
    """
    fitting = [each for each in known if not scheme or scheme in each.schemes]
    paths = [path for each in only for path in each.split(",")]
    if paths:
        for path in paths:
            if not any(_is(each, path) for each in fitting):
                raise UsageError(f"{path!r} is no case of {scheme or 'these'}", "see: halloo check list")
        return tuple(each for each in fitting if any(_is(each, path) for path in paths))
    found = tuple(each for each in fitting if each.level <= level and (not quick or each.id in QUICK))
    if not found:
        raise UsageError("no case was chosen", "see: halloo check list")
    return found


def _is(case: Case, path: str) -> bool:
    return path.lower().rstrip("/") in (case.id.lower(), case.path.lower(), case.path.partition("/")[0], case.name)
