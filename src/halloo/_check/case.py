"""A case: one conformance check of an echo server or client, as data, and its possible outcomes.

Uses no sockets and no processes. A case is a function of a target: it returns None or a note, or raises an `Outcome`.
Its id and name come from the name of the function, its description from the docstring.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NoReturn, TypeVar

Severity = Literal["MUST", "SHOULD", "INFO"]
Verdict = Literal["PASS", "FAIL", "WARN", "INFO", "BLOCKED", "SKIP", "ERROR"]
Target = TypeVar("Target")

KINDS = {"T": "tcp", "U": "udp", "C": "client"}
SCHEMES = {"T": "tcp tls unix", "U": "udp", "C": "tcp"}  # of a case, unless it says otherwise
UNENCRYPTED = "tcp unix"  # for cases that depend on buffered bytes: TLS buffers some itself
ANY_BYTES = "needs a server that echoes any bytes, and this one has messages of its own"
PROCESS = "needs the server's process: give its command instead of an address"
CONTEXT_BYTES = 32  # bytes shown on either side of a difference


def _ids(text: str) -> frozenset[str]:
    """Expand ranges of ids: `T01-12 U09`."""
    ranges = ((each[0], *each[1:].split("-")) for each in text.split())
    return frozenset(f"{kind}{n:02}" for kind, *ends in ranges for n in range(int(ends[0]), int(ends[-1]) + 1))


# Levels, from what RFC 862 requires to what a service needs. Cases not listed here belong to level 4.
# A client at a terminal has a person who interrupts it: what one without needs is level 4, and so are strangers.
LEVELS = {
    1: _ids("T01-12 T17 U01-08 C01-07 C09-19 C22-27 C29 C32-34"),
    2: _ids("T18-22 T28 T35 U09 U14"),
    3: _ids("T13-15 T23-24"),
}
MAX_LEVEL = 4
# Cases that send nothing but whole messages, or none: they suit every protocol that answers each.
MESSAGE_CASES = _ids("T01-02 T05-06 T09-10 T13-14 T20-21 T25 T28 T35-36 T38 T42-47 U01 U07-09")
QUICK = _ids("T01-15 T18-20 T28 T35 U01-09 C01 C03 C05-07 C11-13 C17 C22 C29 C33")


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
    """What a case found, as a sentence.

    `pattern` classifies a failure, in words that hint at the cause (see `halloo._check.diagnoses`); `words` are lines
    that the program has printed.
    """

    verdict: Verdict = "FAIL"

    def __init__(self, text: str, *, pattern: str = "", evidence: Evidence | None = None, words: str = "") -> None:
        super().__init__(text)
        self.pattern = pattern
        self.evidence = evidence
        self.words = words

    @property
    def lines(self) -> str:
        return f"{self}\n{self.words}" if self.words else str(self)

    @property
    def seen(self) -> frozenset[str]:
        """The words of the pattern."""
        return frozenset(self.pattern.split())


class Failed(Outcome):
    """The target does not conform: what was sent, what was received, and where they differ."""

    def in_context(self, context: str, *, pattern: str = "", words: str = "") -> "Failed":
        text, pattern, words = f"{context}: {self}", pattern or self.pattern, words or self.words
        return Failed(text, pattern=pattern, evidence=self.evidence, words=words)


@contextmanager
def context(text: str) -> Iterator[None]:
    """Introduce a failure within the block."""
    try:
        yield
    except Failed as failure:
        raise failure.in_context(text) from failure


class Warned(Outcome):
    """The target conforms, but in a way that will cause trouble."""

    verdict = "WARN"


class Skipped(Outcome):
    """The case cannot be run against this target, or on this system."""

    verdict = "SKIP"


def _not_run(_: object) -> NoReturn:
    raise NotImplementedError("a case read from a report cannot be run")


@dataclass(frozen=True)
class Case(Generic[Target]):
    """One check: its severity, criterion and source, and the conditions for running it.

    A case without a function is a decorator: called with one whose name begins with the id, it returns the whole case.
    """

    severity: Severity
    passes: str
    source: str
    needs: str = ""
    """Ids of required cases: this one is BLOCKED when one of them failed."""
    command_only: str = ""
    """Why it is run only against a command, and not against an address; empty when it may be."""
    kill: float = 20.0
    """Seconds after which the target is killed and the case failed."""
    alone: bool = False
    """Whether it measures time, so that no other case may run concurrently."""
    schemes: str = ""
    """The schemes that it can be run over, if not all of its kind."""
    run: Callable[[Target], str | None] = _not_run

    def __call__(self, run: Callable[[Target], str | None]) -> "Case[Target]":
        return replace(self, run=run)

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

    def runs_over(self, scheme: str) -> bool:
        return scheme in (self.schemes or SCHEMES[self.id[0]]).split()

    def of(self, name: str, description: str, run: Callable[[Target], str | None] = _not_run) -> "Case[Target]":
        """Return the whole case, with a function that has no name and description of its own."""

        def named(target: Target) -> str | None:
            return run(target)

        named.__name__, named.__doc__ = name.replace("-", "_").lower(), description
        return self(named)


AnyCase = Case[Any]


def cases_in(values: Iterable[object]) -> Iterator[AnyCase]:
    """Select the cases among the values of a module."""
    return (each for each in values if isinstance(each, Case) and each.run is not _not_run)
