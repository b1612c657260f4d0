"""What a case is: one question to an echo server, as data, and the ways in which it can be answered.

Knows no socket, no process and no test framework. A case is a function of a target: it returns, perhaps with something
worth telling, or raises what it found. Its id, name and deed are those of the function, so that nothing is said twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.conformance.target import Target

Severity = Literal["MUST", "SHOULD", "INFO"]
Function = Callable[["Target"], str | None]

KILL = 20.0  # seconds that a case may take, unless it says otherwise


class Outcome(Exception):  # noqa: N818 - a verdict is no error of ours
    """What a case found, as a sentence."""


class Failed(Outcome):
    """The server did not do what the case asks: what was sent, what came back, and where."""


class Warned(Outcome):
    """The server did it, but in a way that will cause trouble."""


class Skipped(Outcome):
    """The question cannot be asked of this server, or on this system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: when it counts as passed, how much that matters, who says so, and how it may be asked."""

    run: Function
    passes: str
    severity: Severity
    source: str
    needs: tuple[str, ...] = ()
    """Cases without which it is pointless to ask: BLOCKED when one of them failed."""
    kill: float = KILL
    """Seconds until the server is ended, and the case failed."""
    waits: bool = False
    """Whether it has to wait, or works for more than about a second."""
    process: bool = False
    """Whether it has to see, signal or start the server's process, an address alone not being enough."""
    longer: bool = False
    """Whether it has a longer form."""

    @property
    def id(self) -> str:
        """Such as T09."""
        return self.run.__name__.partition("_")[0].upper()

    @property
    def name(self) -> str:
        """Such as half-close."""
        return self.run.__name__.partition("_")[2].replace("_", "-")

    @property
    def does(self) -> str:
        """What is done, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


def case(
    *,
    passes: str,
    severity: Severity,
    source: str,
    needs: tuple[str, ...] = (),
    kill: float = KILL,
    waits: bool = False,
    process: bool = False,
    longer: bool = False,
) -> Callable[[Function], Case]:
    """Make a case of a function whose name begins with the id."""

    def made(run: Function) -> Case:
        return Case(
            run=run,
            passes=passes,
            severity=severity,
            source=source,
            needs=needs,
            kill=kill,
            waits=waits,
            process=process,
            longer=longer,
        )

    return made


def cases_in(names: Iterable[object]) -> list[Case]:
    """Pick the cases out of what a module holds."""
    return [each for each in names if isinstance(each, Case)]
