"""Send probes as planned, take what comes back, and give each outcome to whoever listens.

Knows lanes, two clocks and how to wait between them. select(2) and the timer slack make a wait exact to some 50 us; the
rest of the way to a planned time is spent awake.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from halloo.core.account import Account
from halloo.core.clocks import Instant
from halloo.core.pacing import Pace
from halloo.core.roundtrips import Probed
from halloo.core.units import SECOND
from halloo.errors import HallooError, UnknownHost, UsageError
from halloo.net.probing.lanes import Blocked, Lane
from halloo.net.stopping import BrokenInto, Wish

AWAKE = 120_000  # nanoseconds before a planned time that are not slept through
BEFORE, AFTER = 1_000_000, 500_000  # nanoseconds around an expected answer that are not slept through, if it matters:
SELDOM = 20_000_000  # at this interval and longer ones, so that it is a thirteenth of a core at most
SHORTEST, TIMES = 50_000_000, 3  # nanoseconds, and times of the slowest so far, that stragglers are waited for
AFTER_ERROR = 100_000_000  # nanoseconds until the next probe where each follows the last answer
SELECT_BELOW = 1024  # descriptors that select(2) knows

Tell = Callable[[Probed], object]


def both_clocks() -> Instant:
    """Read the steady clock and the wall clock."""
    return Instant(time.monotonic_ns(), time.time_ns())


@dataclass(frozen=True, slots=True)
class Course:
    """A lane and its account.

    With `reconnect` each probe has a connection of its own; with `connect` that is all there is to a probe.
    """

    lane: Lane
    account: Account
    reconnect: bool = False
    connect: bool = False

    @property
    def stream(self) -> bool:
        """Whether nothing gets lost or overtakes on the way, and a connection has an end."""
        return self.lane.dial.address.scheme != "udp"


class Prober:
    """Sends the probes of some courses, by one plan."""

    def __init__(
        self,
        courses: Sequence[Course],
        pace: Pace,
        wish: Wish,
        tell: Tell,
        *,
        deadline_ns: int | None = None,
        spin: bool = False,
        clock: Callable[[], Instant] = both_clocks,
    ) -> None:
        """Begin nothing yet; `deadline_ns` is how long it may take."""
        self._courses = courses
        self._pace = pace
        self._wish = wish
        self._tell = tell
        self._deadline = deadline_ns
        self._spin = spin
        self._clock = clock
        self._end_ns: int | None = None  # when to stop, of the steady clock
        self._all_sent: int | None = None  # when, of the steady clock
        self._hold = 0  # until when nothing is sent, of the steady clock
        self._failed: dict[int, HallooError] = {}  # before the first probe, which is their victim
        self._unused: set[int] = set()  # connections that have had no probe yet
        self._just_sent = False
        self._loaded: tuple[Course, bytes] | None = None  # the next probe, made in advance, and whose it is

    def open(self) -> None:
        """Connect, so that the first probes leave as planned. Raises UsageError, UnknownHost."""
        for place, course in enumerate(self._courses):
            if course.lane.connection:
                continue
            try:
                self._connect(course)
                self._unused.add(place)
            except (UnknownHost, UsageError):
                raise
            except HallooError as error:
                self._failed[place] = error
            except BrokenInto:
                return

    def run(self, look: Callable[[], object] = int) -> None:
        """Send all that is planned and take what comes back, until a wish to stop; `look` is called when one asks."""
        now = self._clock().steady_ns
        self._pace.begin(now)
        self._end_ns = None if self._deadline is None else now + self._deadline
        try:
            with sharp_timers():
                while not self._wish.stop and not self._past(self._end_ns):
                    if self._wish.look:
                        self._wish.look = False
                        look()
                    if not self._turn():
                        break
                else:  # what has just left is not lost for that
                    self._await_stragglers()
        except BrokenInto:
            pass
        for course in self._courses:
            self._finish(course)

    def look(self) -> None:
        """Have every account know what is known of its connection by now."""
        for course in self._courses:
            course.account.note_kernel(course.lane.kernel())
            self._describe(course)

    def close(self) -> None:
        """Close all connections."""
        for course in self._courses:
            course.lane.close()

    # The plan.

    def _turn(self) -> bool:
        """Send one probe, or wait for something to happen; whether there is more to do."""
        now = self._clock()
        awaited = self._give_up(now)
        if self._pace.over:
            until = self._last_moment(now.steady_ns)
            if until <= now.steady_ns:
                return False
        else:
            planned = self._planned(awaited)
            if planned <= now.steady_ns and not self._just_sent:
                self._just_sent = True  # whoever is behind the plan still looks what has come, each time
                self._send(self._pace.target)
                return True
            self._just_sent = False
            if self._pace.follows and self._loaded is None:
                self._load(now)
            until = min([planned, *awaited])
        self._step(until if self._end_ns is None else min(until, self._end_ns))
        return True

    def _give_up(self, now: Instant) -> list[int]:
        """Give up what is overdue, and say when what each course still awaits will be."""
        for course in self._courses:
            for event in course.account.overdue(now):
                self._tell(event)
        return [due for course in self._courses if (due := course.account.tally.due_ns()) is not None]

    def _planned(self, awaited: Sequence[int]) -> int:
        """Say when the next probe leaves, which may be past."""
        course = self._courses[self._pace.target]
        if self._pace.follows:
            return min(awaited) if awaited else self._hold
        if (course.reconnect or course.connect) and (due := course.account.tally.due_ns()) is not None:
            return max(due, self._pace.due_ns)
        return self._pace.due_ns

    def _last_moment(self, now: int) -> int:
        """Say until when something is waited for, after the last probe; 0 when nothing is."""
        if self._all_sent is None:
            self._all_sent = now
        return max((self._straggling(course, self._all_sent) for course in self._courses), default=0)

    def _straggling(self, course: Course, since: int) -> int:
        """Say until when a course is waited for; a stream, where nothing gets lost, as long as ever."""
        due, slowest = course.account.tally.due_ns(), course.account.latency.slowest
        if due is None or course.stream or not slowest:
            return due or 0
        return min(due, since + max(SHORTEST, TIMES * slowest))

    def _await_stragglers(self) -> None:
        """Give what is under way the time of stragglers, but no more than a moment; where nothing ever came, none."""
        slowest = max(course.account.latency.slowest for course in self._courses)
        moment = min(max(SHORTEST, TIMES * slowest), SECOND) if slowest else 0
        until = self._clock().steady_ns + moment
        while any(course.account.tally.awaited for course in self._courses) and not self._past(until):
            self._step(until)

    def _past(self, moment: int | None) -> bool:
        return moment is not None and self._clock().steady_ns >= moment

    # Doing.

    def _send(self, place: int) -> None:
        course, now = self._courses[place], self._clock()
        self._loaded = None
        self._pace.leave(now.steady_ns)
        lane, account = course.lane, course.account
        try:
            if (course.reconnect or course.connect) and place not in self._unused:
                self._close(course)
            self._unused.discard(place)
            if error := self._failed.pop(place, None):
                raise error
            if lane.connection is None:
                self._connect(course)
                now = now if course.connect else self._clock()
        except HallooError as error:
            number, _ = account.send(now)
            self._fail(course, number, error)
            return
        if course.connect:
            account.send(now)
            self._tell(account.reached(self._clock()))
            self._close(course)
            return
        self._dispatch(course, account.make(now))

    def _load(self, now: Instant) -> None:
        """Make the next probe while an answer is awaited, so that it can leave before anything is done about that.

        What would be done takes longer than the far end's processor stays awake, and its waking would be in the time.
        """
        place = self._pace.target
        course = self._courses[place]
        if course.lane.connection and not course.reconnect and not course.connect and place not in self._unused:
            self._loaded = course, course.account.make(now)

    def _dispatch(self, course: Course, probe: bytes) -> None:
        self._loaded = None
        left, failure = self._clock(), None
        try:
            course.lane.send(probe)
        except HallooError as error:
            failure = error
        number = course.account.sent(left)
        if failure is None:
            return
        if course.stream and not isinstance(failure, Blocked):
            self._end(course, failure)
        else:
            self._fail(course, number, failure)

    def _connect(self, course: Course) -> None:
        with self._wish.breaking_in():
            phases = course.lane.open()
        course.account.connected(phases)
        self._describe(course)

    def _describe(self, course: Course) -> None:
        """Take note of what is known of a connection: the way to the peer may have changed."""
        if course.lane.connection:
            course.account.clock = "kernel" if course.lane.stamped and not course.connect else "user"
            course.account.fill(**course.lane.known())

    def _close(self, course: Course) -> None:
        course.account.note_kernel(course.lane.kernel(), closing=True)
        course.lane.close()

    def _fail(self, course: Course, number: int | None, error: HallooError) -> None:
        self._hold = self._clock().steady_ns + AFTER_ERROR
        told = type(error).__name__, str(error)
        self._tell(course.account.fail(number, told, self._clock()))

    def _step(self, until: int) -> None:
        """Wait until something has come or a moment is there, and deal with it."""
        for course in self._ready(until):
            try:
                self._receive(course)
            except HallooError as error:
                self._end(course, error)

    def _receive(self, course: Course) -> None:
        lane, account = course.lane, course.account
        if lane.sending:
            lane.go_on_sending()
        for data, now, kernel_ns in lane.receive(self._clock):
            if self._loaded and account.tally.awaited == 1 and len(data) == lane.size:
                self._pace.leave(now.steady_ns)
                self._dispatch(*self._loaded)
            self._tell(account.answer(data, now, kernel_ns))
            if course.reconnect and account.tally.sent and not account.tally.awaited:
                self._close(course)
                return

    def _end(self, course: Course, error: HallooError) -> None:
        """Close a connection that has failed, and what was under way on it; a datagram's error concerns the latest."""
        outstanding = course.account.tally.outstanding()
        victims: list[int | None] = [*(outstanding if course.stream else outstanding[-1:])]
        for number in victims or [None]:
            self._fail(course, number, error)
        if course.stream:
            self._close(course)

    def _finish(self, course: Course) -> None:
        """Give up what is awaited, or else take the beginning of an answer for all there is of it."""
        awaited = [*course.account.finish(self._clock())]
        for event in awaited:
            self._tell(event)
        if not awaited and (rest := course.lane.rest()):
            self._tell(course.account.answer(rest, self._clock(), None))

    def _ready(self, until: int) -> list[Course]:
        """Wait for what can be read; a moment that is near is awaited awake."""
        listening = [course for course in self._courses if course.lane.connection and not course.connect]
        open_ = {course.lane.connection.socket.fileno(): course for course in listening if course.lane.connection}
        if self._spin:
            return list(open_.values())
        now = self._clock().steady_ns
        seconds = max(self._awake_from(until, now) - now, 0) / SECOND
        sending = [number for number, course in open_.items() if course.lane.sending]
        found = _wait([*open_, self._wish.waking.fileno()], sending, seconds)
        self._wish.heard()
        return [course for number, course in open_.items() if number in found]

    def _awake_from(self, until: int, now: int) -> int:
        """Say from when on not to sleep: just before a moment, and before an answer that only our own clock times."""
        if self._pace.interval_ns < SELDOM:
            return until - AWAKE
        expected = [moment for course in self._courses if (moment := course.account.expected_ns) is not None]
        return min([until - AWAKE, *(moment - BEFORE for moment in expected if now < moment + AFTER)])


def _wait(
    reading: Sequence[int], writing: Sequence[int], seconds: float, *, select_below: int = SELECT_BELOW
) -> set[int]:
    """Wait for one of the descriptors; where select(2) cannot, in whole milliseconds, which is never too long."""
    if max(reading) < select_below or not hasattr(select, "poll"):
        readable, writable, _ = select.select(reading, writing, [], seconds)
        return {*readable, *writable}
    poller = select.poll()
    for number in reading:
        poller.register(number, select.POLLIN | (select.POLLOUT if number in writing else 0))
    return {number for number, _ in poller.poll(int(seconds * 1000))}


@contextmanager
def sharp_timers() -> Iterator[None]:
    """Have this thread's waits end when they should: by default they may take 50 us more (PR_SET_TIMERSLACK)."""
    slack = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")  # of a thread, but not under its process's task/
    try:
        before = slack.read_text()
        slack.write_text("1")
    except OSError:  # no Linux, or one that does not let us
        yield
        return
    try:
        yield
    finally:
        slack.write_text(before)
