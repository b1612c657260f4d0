"""All cases, in the order of their ids, and the selection of some of them.

Collects the cases from the modules in `server.cases` and `client.cases`: to add a case, write its function there.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from halloo._check.case import KINDS, MAX_LEVEL, QUICK, AnyCase, cases_in
from halloo._check.client.cases import MODULES as CLIENTS
from halloo._check.server.cases import MODULES as SERVERS
from halloo.errors import UsageError


@cache
def cases() -> tuple[AnyCase, ...]:
    """Return all cases."""
    found = [each for module in (*SERVERS, *CLIENTS) for each in cases_in(vars(module).values())]
    return tuple(sorted(found, key=lambda each: (list(KINDS).index(each.id[0]), each.id)))


def choose(
    known: Iterable[AnyCase], *, only: Sequence[str] = (), level: int = MAX_LEVEL, quick: bool = False, scheme: str = ""
) -> tuple[AnyCase, ...]:
    """Select cases for a scheme: those in `only` (tcp, tcp/T11, T11), or those up to a level, or the quick ones.

    Raises UsageError when none is selected.
    """
    available = [each for each in known if not scheme or each.runs_over(scheme)]
    paths = [path for each in only for path in each.split(",")]
    if paths:
        for path in paths:
            if not any(_matches(each, path) for each in available):
                raise UsageError(f"{path!r} is no case of {scheme or 'these'}", "see: halloo check list")
        return tuple(each for each in available if any(_matches(each, path) for path in paths))
    chosen = tuple(each for each in available if each.level <= level and (not quick or each.id in QUICK))
    if not chosen:
        raise UsageError("no case was chosen", "see: halloo check list")
    return chosen


def _matches(case: AnyCase, path: str) -> bool:
    return path.lower().rstrip("/") in (case.id.lower(), case.path.lower(), case.path.partition("/")[0], case.name)
