"""What a case is: one question to an echo server or client, as data, and the ways in which it can be answered.

Knows no socket and no process. A case is a function of a target: it returns, perhaps with something worth telling, or
raises what it found. Its id, name and deed are those of the function, so that nothing is said twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from halloo._check.server.target import ServerTarget

Severity = Literal["MUST", "SHOULD", "INFO"]
Verdict = Literal["PASS", "FAIL", "WARN", "INFO", "BLOCKED", "SKIP", "ERROR"]
Function = Callable[["ServerTarget"], str | None]

KILL = 20.0  # seconds that a case may take, unless it says otherwise
KINDS = {"T": "tcp", "U": "udp", "C": "client"}
STREAMS = frozenset({"tcp", "tls", "unix"})
PLAIN = frozenset({"tcp", "unix"})  # what needs bytes to be where they are: TLS keeps some of its own
CONTEXT = 32  # bytes shown at either side of a difference

# Levels, from what the RFC asks for to what a service needs; a case that is not named here belongs to level 4.
LEVELS: dict[int, frozenset[str]] = {
    1: frozenset(
        {
            *(f"T{n:02}" for n in range(1, 13)),
            "T17",
            *(f"U{n:02}" for n in range(1, 9)),
            *(f"C{n:02}" for n in range(1, 35)),
        }
    ),
    2: frozenset({*(f"T{n:02}" for n in range(18, 23)), "T28", "T35", "U09", "U14"}),
    3: frozenset({"T13", "T14", "T15", "T23", "T24"}),
}
HIGHEST = 4
QUICK = frozenset(
    {
        *(f"T{n:02}" for n in (*range(1, 16), 18, 19, 20, 28, 35)),
        *(f"U{n:02}" for n in range(1, 10)),
        *(f"C{n:02}" for n in (1, 3, 6, 7, 11, 12, 13, 17, 22)),
    }
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where what came back differs from what should have: `expected` and `came` are the bytes around `offset`."""

    offset: int
    expected: bytes
    came: bytes

    @classmethod
    def at(cls, place: int, expected: bytes | memoryview, came: bytes | memoryview, base: int = 0) -> "Evidence":
        """Cut out the bytes around the first difference, which is at `place` of both; `base` is where both begin."""
        cut = slice(max(place - CONTEXT, 0), place + CONTEXT)
        return cls(base + place, bytes(expected[cut]), bytes(came[cut]))


class Outcome(Exception):  # noqa: N818 - a verdict is no error of ours
    """What a case found, as a sentence."""


class Failed(Outcome):
    """The target did not do what the case asks: what was sent, what came back, and where.

    `pattern` names how it failed, where that hints at the cause: see `mistakes`.
    """

    def __init__(self, text: str, *, pattern: str = "", evidence: Evidence | None = None) -> None:
        """Keep the facts apart from the sentence."""
        super().__init__(text)
        self.pattern = pattern
        self.evidence = evidence

    def within(self, context: str, *, pattern: str = "") -> "Failed":
        """Say what it happened in."""
        return Failed(f"{context}: {self}", pattern=pattern or self.pattern, evidence=self.evidence)


class Warned(Outcome):
    """The target did it, but in a way that will cause trouble."""


class Skipped(Outcome):
    """The question cannot be asked of this target, or on this system."""


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
    """Seconds until the target is ended, and the case failed."""
    waits: bool = False
    """Whether it has to wait, or works for more than about a second."""
    process: bool = False
    """Whether it has to see, signal or start the target's process, an address alone not being enough."""
    longer: bool = False
    """Whether it has a longer form."""
    alone: bool = False
    """Whether it measures time, so that no other case may run beside it."""
    harsh: str = ""
    """Why it may not be asked of an address, where somebody else's server is: empty when it may."""
    schemes: frozenset[str] = STREAMS
    """What it can be asked over."""

    @property
    def id(self) -> str:
        """Such as T09."""
        return self.run.__name__.partition("_")[0].upper()

    @property
    def name(self) -> str:
        """Such as half-close."""
        return self.run.__name__.partition("_")[2].replace("_", "-")

    @property
    def path(self) -> str:
        """Such as tcp/T09."""
        return f"{KINDS[self.id[0]]}/{self.id}"

    @property
    def does(self) -> str:
        """What is done, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())

    @property
    def level(self) -> int:
        """From 1, an echo, to 4, a service."""
        return next((level for level, ids in LEVELS.items() if self.id in ids), HIGHEST)


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
    alone: bool = False,
    harsh: str = "",
    schemes: frozenset[str] = STREAMS,
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
            alone=alone,
            harsh=harsh,
            schemes=schemes,
        )

    return made


def cases_in(names: Iterable[object]) -> list[Case]:
    """Pick the cases out of what a module holds."""
    return [each for each in names if isinstance(each, Case)]
