"""A case: one conformance check of an echo server or client, as data, and its possible outcomes.

Uses no sockets and no processes. A case is a function of a target: it returns None or a note, or raises an `Outcome`.
Its id and name come from the name of the function, its description from the docstring.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from halloo._check.server.target import ServerTarget

Severity = Literal["MUST", "SHOULD", "INFO"]
Verdict = Literal["PASS", "FAIL", "WARN", "INFO", "BLOCKED", "SKIP", "ERROR"]
CaseFunction = Callable[["ServerTarget"], str | None]

DEFAULT_TIMEOUT = 20.0  # seconds that a case may take by default
KINDS = {"T": "tcp", "U": "udp", "C": "client"}
STREAMS = frozenset({"tcp", "tls", "unix"})
UNENCRYPTED = frozenset({"tcp", "unix"})  # for cases that depend on buffered bytes: TLS buffers some itself
CONTEXT_BYTES = 32  # bytes shown on either side of a difference

# Levels, from what RFC 862 requires to what a service needs. Cases not listed here belong to level 4.
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
MAX_LEVEL = 4
QUICK = frozenset(
    {
        *(f"T{n:02}" for n in (*range(1, 16), 18, 19, 20, 28, 35)),
        *(f"U{n:02}" for n in range(1, 10)),
        *(f"C{n:02}" for n in (1, 3, 6, 7, 11, 12, 13, 17, 22)),
    }
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a reply differs: `expected` and `received` hold the bytes around `offset`."""

    offset: int
    expected: bytes
    received: bytes

    @classmethod
    def at(cls, index: int, expected: bytes | memoryview, received: bytes | memoryview, base: int = 0) -> "Evidence":
        """Cut out the bytes around `index`, the first difference; both arguments begin at the offset `base`."""
        cut = slice(max(index - CONTEXT_BYTES, 0), index + CONTEXT_BYTES)
        return cls(base + index, bytes(expected[cut]), bytes(received[cut]))


class Outcome(Exception):  # noqa: N818 - a verdict, not an error of the checker
    """What a case found, as a sentence."""


class Failed(Outcome):
    """The target does not conform: what was sent, what was received, and where they differ.

    `pattern` classifies the failure where that hints at the cause (see `halloo._check.diagnoses`).
    """

    def __init__(self, text: str, *, pattern: str = "", evidence: Evidence | None = None) -> None:
        super().__init__(text)
        self.pattern = pattern
        self.evidence = evidence

    def in_context(self, context: str, *, pattern: str = "") -> "Failed":
        return Failed(f"{context}: {self}", pattern=pattern or self.pattern, evidence=self.evidence)


class Warned(Outcome):
    """The target conforms, but in a way that will cause trouble."""


class Skipped(Outcome):
    """The case cannot be run against this target, or on this system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One check: its criterion, severity and source, and the conditions for running it."""

    run: CaseFunction
    passes: str
    severity: Severity
    source: str
    needs: tuple[str, ...] = ()
    """Ids of required cases: this one is BLOCKED when one of them failed."""
    kill: float = DEFAULT_TIMEOUT
    """Seconds after which the target is killed and the case failed."""
    waits: bool = False
    """Whether it takes more than about a second."""
    process: bool = False
    """Whether it inspects, signals or starts the target's process, so that an address is not enough."""
    has_long_form: bool = False
    """Whether it has a longer form (`--long`)."""
    alone: bool = False
    """Whether it measures time, so that no other case may run concurrently."""
    command_only: str = ""
    """Why it is not run against an address, but only against a command; empty when it may be."""
    schemes: frozenset[str] = STREAMS
    """The schemes that it can be run over."""

    @property
    def id(self) -> str:
        return self.run.__name__.partition("_")[0].upper()

    @property
    def name(self) -> str:
        return self.run.__name__.partition("_")[2].replace("_", "-")

    @property
    def path(self) -> str:
        return f"{KINDS[self.id[0]]}/{self.id}"

    @property
    def description(self) -> str:
        return " ".join((self.run.__doc__ or "").split())

    @property
    def level(self) -> int:
        return next((level for level, ids in LEVELS.items() if self.id in ids), MAX_LEVEL)


def case(
    *,
    passes: str,
    severity: Severity,
    source: str,
    needs: tuple[str, ...] = (),
    kill: float = DEFAULT_TIMEOUT,
    waits: bool = False,
    process: bool = False,
    has_long_form: bool = False,
    alone: bool = False,
    command_only: str = "",
    schemes: frozenset[str] = STREAMS,
) -> Callable[[CaseFunction], Case]:
    """Turn a function, whose name begins with the id, into a case."""

    def decorate(run: CaseFunction) -> Case:
        return Case(
            run=run,
            passes=passes,
            severity=severity,
            source=source,
            needs=needs,
            kill=kill,
            waits=waits,
            process=process,
            has_long_form=has_long_form,
            alone=alone,
            command_only=command_only,
            schemes=schemes,
        )

    return decorate


def cases_in(values: Iterable[object]) -> list[Case]:
    """Select the cases among the values of a module."""
    return [each for each in values if isinstance(each, Case)]
