"""The case decorator, typed for functions of a `ClientTarget` instead of a `ServerTarget`.

Types only: the cases it makes are the same.
"""

from collections.abc import Callable
from typing import ParamSpec, cast

from halloo._check import case as cases
from halloo._check.client.target import ClientTarget

ClientFunction = Callable[[ClientTarget], str | None]
_P = ParamSpec("_P")


def _for_clients(
    decorator: Callable[_P, Callable[[cases.CaseFunction], cases.Case]],
) -> Callable[_P, Callable[[ClientFunction], cases.Case]]:
    return cast("Callable[_P, Callable[[ClientFunction], cases.Case]]", decorator)


case = _for_clients(cases.case)


def function_of(case: cases.Case) -> ClientFunction:
    """Return the function of a client case."""
    return cast("ClientFunction", case.run)
