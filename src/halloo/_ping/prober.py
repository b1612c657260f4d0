"""Send probes as planned, take what comes back, and give each outcome to whoever listens.

Knows lanes, two clocks and how to wait between them.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from halloo._core.units import SECOND
from halloo._net.precise_wait import AWAKE, sharp_timers, wait
from halloo._net.signals import StopRequest
from halloo._ping.connector import Connector
from halloo._ping.flow import Blocked, Flow
from halloo._ping.report import ProbeEvent
from halloo._ping.schedule import Schedule
from halloo._ping.tracker import Instant
from halloo.errors import HallooError, UnknownHost, UsageError

BEFORE, AFTER = 1_000_000, 500_000  # nanoseconds around an expected answer that are not slept through, if it matters:
SELDOM = 20_000_000  # at this interval and longer ones, so that it is a thirteenth of a core at most
SHORTEST, TIMES = 50_000_000, 3  # nanoseconds, and times of the slowest so far, that stragglers are waited for
AFTER_ERROR = 100_000_000  # nanoseconds until the next probe where each follows the last answer
TOGETHER, TENTH = SECOND, 10  # nanoseconds, or a part of all there are, for which the first probes wait for the others

Tell = Callable[[ProbeEvent], object]


def both_clocks() -> Instant:
    """Read the steady clock and the wall clock."""
    return Instant(time.monotonic_ns(), time.time_ns())


class Prober:
    """Sends the probes of some courses, by one plan."""

    def __init__(
        self,
        courses: Sequence[Flow],
        pace: Schedule,
        wish: StopRequest,
        tell: Tell,
        *,
        deadline_ns: int | None = None,
        busy_poll: bool = False,
        clock: Callable[[], Instant] = both_clocks,
    ) -> None:
        """Begin nothing yet; `deadline_ns` is how long it may take, connecting with it."""
        self._courses = courses
        self._pace = pace
        self._wish = wish
        self._tell = tell
        self._deadline = deadline_ns
        self._busy_poll = busy_poll
        self._clock = clock
        self._end_ns: int | None = None  # when to stop, of the steady clock
        self._all_sent: int | None = None  # when, of the steady clock
        self._hold = 0  # until when nothing is sent, of the steady clock
        self._openings = Connector([course.connection for course in courses], self._opened, self._not_open)
        self._pending: dict[int, Instant] = {}  # the places whose probe leaves as soon as there is a connection
        self._failed: dict[int, HallooError] = {}  # before the first probe, which is their victim
        self._unused: set[int] = set()  # connections that have had no probe yet
        self._just_sent = False
        self._loaded: tuple[Flow, bytes] | None = None  # the next probe, made in advance, and whose it is

    def open(self) -> None:
        """Connect, so that the first probes leave as planned. Raises UsageError, and UnknownHost if none is known.

        Where one is connected, the others are waited for a moment: they connect meanwhile.
        """
        now = self._clock().steady_ns
        self._end_ns = None if self._deadline is None else now + self._deadline
        together = now + (TOGETHER if self._deadline is None else min(TOGETHER, self._deadline // TENTH))
        for place, course in enumerate(self._courses):
            if not course.connection.connection and not self._wish.stop:
                self._openings.begin(place)
        while self._openings and not self._wish.stop and not self._past(self._end_ns):
            if self._unused and self._past(together):
                break
            until = together if self._unused else self._clock().steady_ns + SECOND
            self._openings.advance(self._ready(self._until(until), {}))
        errors = [*self._failed.values()]
        unknown = len(errors) == len(self._courses) and all(isinstance(error, UnknownHost) for error in errors)
        for error in errors:
            if unknown or isinstance(error, UsageError):
                raise error

    def run(self, look: Callable[[], object] = int) -> None:
        """Send all that is planned and take what comes back, until a wish to stop; `look` is called when one asks."""
        self._pace.begin(self._clock().steady_ns)
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
                self._step(0)  # nor what has come
        except BaseException:
            self._tell = _nobody  # whoever is told has failed; the accounts are closed all the same
            raise
        finally:
            for place, course in enumerate(self._courses):
                self._finish(place, course)

    def look(self) -> None:
        """Have every account know what is known of its connection by now."""
        for course in self._courses:
            course.tracker.note_kernel(course.connection.kernel())
            self._describe(course)

    def close(self) -> None:
        """Close all connections."""
        for course in self._courses:
            course.connection.close()

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
            planned = self._planned(now.steady_ns, awaited)
            if planned <= now.steady_ns and not self._just_sent:
                self._just_sent = True  # whoever is behind the plan still looks what has come, each time
                self._send(self._pace.target)
                return True
            self._just_sent = False
            if self._pace.follows and self._loaded is None:
                self._load(now)
            until = min([planned, *awaited])
        self._step(self._until(until))
        return True

    def _until(self, moment: int) -> int:
        return moment if self._end_ns is None else min(moment, self._end_ns)

    def _give_up(self, now: Instant) -> list[int]:
        """Give up what is overdue, and say when what each course still awaits will be."""
        due = self._due()
        if due and min(due) <= now.steady_ns:
            self._step(0)  # what has come by now is not lost
            for course in self._courses:
                for event in course.tracker.overdue(now):
                    self._tell(event)
            due = self._due()
        return due

    def _due(self) -> list[int]:
        return [due for course in self._courses if (due := course.tracker.tally.due_ns()) is not None]

    def _planned(self, now: int, awaited: Sequence[int]) -> int:
        """Say when the next probe leaves, which may be past, or far off where every turn is held."""
        follows = self._pace.follows
        if follows and awaited:
            return min(awaited)
        if all(map(self._held, range(len(self._courses)))):
            return now + SECOND
        return self._hold if follows else self._pace.due_ns

    def _held(self, place: int) -> bool:
        """Whether a course's next probe cannot leave yet, because of the far end."""
        return place in self._openings or self._courses[place].held

    def _pass_held_turns(self) -> None:
        """Have the turns pass that were due by now and held: afterwards they may not be."""
        now = self._clock().steady_ns
        while not self._pace.over and self._pace.due_ns <= now and self._held(self._pace.target):
            self._pace.hold(now)

    def _last_moment(self, now: int) -> int:
        """Say until when something is waited for, after the last probe; 0 when nothing is."""
        if self._openings:
            return now + SECOND
        if self._all_sent is None:
            self._all_sent = now
        return max((self._straggling(course, self._all_sent) for course in self._courses), default=0)

    def _straggling(self, course: Flow, since: int) -> int:
        """Say until when a course is waited for; a stream, where nothing gets lost, as long as ever."""
        due, slowest = course.tracker.tally.due_ns(), course.tracker.latency.slowest
        if due is None or course.stream or not slowest:
            return due or 0
        return min(due, since + max(SHORTEST, TIMES * slowest))

    def _await_stragglers(self) -> None:
        """Give what is under way the time of stragglers, but no more than a moment; nothing more is sent."""
        self._loaded = None
        if self._wish.stop:
            self._openings.abandon()
            self._pace.take_back(len(self._pending))
        else:
            self._openings.give_up()
        slowest = max(course.tracker.latency.slowest for course in self._courses)
        until = self._clock().steady_ns + min(max(SHORTEST, TIMES * slowest), SECOND)
        while any(course.tracker.tally.awaited for course in self._courses) and not self._past(until):
            self._step(until)

    def _past(self, moment: int | None) -> bool:
        return moment is not None and self._clock().steady_ns >= moment

    # Connecting.

    def _opened(self, place: int, phases: Mapping[str, int]) -> None:
        """Send the probe that waited for the connection; without one, it is there for the first."""
        course, planned = self._courses[place], self._pending.pop(place, None)
        course.tracker.connected(phases)
        self._describe(course)
        if planned is None:
            self._unused.add(place)
        elif course.connect:
            self._reached(course, planned)
        else:
            self._dispatch(course, course.tracker.make(self._clock()))

    def _not_open(self, place: int, error: HallooError) -> None:
        planned = self._pending.pop(place, None)
        if planned is None:
            self._failed[place] = error
        else:
            self._fail_at_once(self._courses[place], planned, error)

    def _describe(self, course: Flow) -> None:
        """Take note of what is known of a connection: the way to the peer may have changed."""
        if course.connection.connection:
            course.tracker.clock = "kernel" if course.connection.stamped and not course.connect else "user"
            course.tracker.fill(**course.connection.known())

    def _close(self, course: Flow) -> None:
        if self._loaded and self._loaded[0] is course:
            self._loaded = None
        course.tracker.note_kernel(course.connection.kernel(), closing=True)
        course.connection.close()

    # Sending.

    def _send(self, place: int) -> None:
        course, now = self._courses[place], self._clock()
        if self._held(place):
            self._pace.hold(now.steady_ns)
            return
        self._loaded = None
        self._pace.leave(now.steady_ns)
        if course.apart and place not in self._unused:
            self._close(course)
        self._unused.discard(place)
        if error := self._failed.pop(place, None):
            self._fail_at_once(course, now, error)
        elif course.connection.connection is None:
            self._pending[place] = now
            self._openings.begin(place)
        elif course.connect:
            self._reached(course, now)
        else:
            self._dispatch(course, course.tracker.make(now))

    def _load(self, now: Instant) -> None:
        """Make the next probe while an answer is awaited, so that it can leave before anything is done about that.

        What would be done takes longer than the far end's processor stays awake, and its waking would be in the time.
        """
        place = self._pace.target
        course = self._courses[place]
        if course.connection.connection and not course.apart and place not in self._unused:
            self._loaded = course, course.tracker.make(now)

    def _dispatch(self, course: Flow, probe: bytes) -> None:
        if failure := self._leave(course, probe):
            self._not_sent(course, *failure)

    def _leave(self, course: Flow, probe: bytes) -> tuple[int, HallooError] | None:
        """Send a probe; give its number and the error if it cannot be sent."""
        self._loaded = None
        left, failure = self._clock(), None
        try:
            course.connection.send(probe)
        except HallooError as error:
            failure = error
        number = course.tracker.sent(left)
        return None if failure is None else (number, failure)

    def _not_sent(self, course: Flow, number: int, error: HallooError) -> None:
        if course.stream and not isinstance(error, Blocked):
            self._end(course, error)
        else:
            self._fail(course, number, error)

    def _reached(self, course: Flow, began: Instant) -> None:
        """Take a connection for all there is to a probe."""
        course.tracker.send(began)
        self._tell(course.tracker.reached(self._clock()))
        self._close(course)

    def _fail_at_once(self, course: Flow, now: Instant, error: HallooError) -> None:
        number, _ = course.tracker.send(now)
        self._fail(course, number, error)

    def _fail(self, course: Flow, number: int | None, error: HallooError) -> None:
        self._hold = self._clock().steady_ns + AFTER_ERROR
        told = type(error).__name__, str(error)
        self._tell(course.tracker.fail(number, told, self._clock()))

    # Receiving.

    def _step(self, until: int) -> None:
        """Wait until something has come or a moment is there, and deal with it."""
        connected = [course for course in self._courses if course.connection.connection and not course.connect]
        listening = {
            course.connection.connection.socket.fileno(): course for course in connected if course.connection.connection
        }
        ready = self._ready(until, listening)
        if not self._pace.follows:
            self._pass_held_turns()
        if self._openings:
            self._openings.advance(ready)
        for number, course in listening.items():
            if number in ready and course.connection.connection:
                try:
                    self._receive(course)
                except HallooError as error:
                    self._end(course, error)

    def _receive(self, course: Flow) -> None:
        lane, account = course.connection, course.tracker
        if lane.sending:
            lane.go_on_sending()
        for data, now, kernel_ns in lane.receive(self._clock):
            next_one, failure = self._loaded, None
            if next_one and account.tally.awaited == 1 and len(data) == lane.size:
                failure = self._leave(*next_one)
                self._pace.leave(now.steady_ns)
            if lane.moved:
                lane.moved = False
                self._describe(course)
            self._tell(account.answer(data, now, kernel_ns))
            if next_one and failure:
                self._not_sent(next_one[0], *failure)
            if course.reconnect and account.tally.sent and not account.tally.awaited:
                self._close(course)
                return

    def _end(self, course: Flow, error: HallooError) -> None:
        """Close a connection that has failed, and what was under way on it; a datagram's error concerns the latest."""
        outstanding = course.tracker.tally.outstanding()
        victims: list[int | None] = [*(outstanding if course.stream else outstanding[-1:])]
        for number in victims or [None]:
            self._fail(course, number, error)
        if course.stream:
            self._close(course)

    def _finish(self, place: int, course: Flow) -> None:
        """Give up what is awaited, or else take the beginning of an answer for all there is of it."""
        if error := self._failed.pop(place, None):  # its first probe has had no turn
            self._fail_at_once(course, self._clock(), error)
        awaited = [*course.tracker.finish(self._clock())]
        for event in awaited:
            self._tell(event)
        if not awaited and (rest := course.connection.rest()):
            self._tell(course.tracker.answer(rest, self._clock(), None))

    # Waiting.

    def _ready(self, until: int, listening: Mapping[int, Flow]) -> set[int]:
        """Wait for a descriptor that something has come to, or that takes something; a near moment is awaited awake."""
        if self._busy_poll and not self._openings:
            return {*listening}
        now = self._clock().steady_ns
        seconds = max(self._awake_from(until, now) - now, 0) / SECOND
        begun = self._openings.awaited()
        reading = [*listening, *begun.reading, self._wish.waking.fileno()]
        sending = [number for number, course in listening.items() if course.connection.sending]
        found = wait(reading, [*sending, *begun.writing], min(seconds, begun.seconds))
        self._wish.heard()
        return found

    def _awake_from(self, until: int, now: int) -> int:
        """Say from when on not to sleep: just before a moment, and before an answer that only our own clock times."""
        if self._pace.interval_ns < SELDOM:
            return until - AWAKE
        expected = [moment for course in self._courses if (moment := course.tracker.expected_ns) is not None]
        return min([until - AWAKE, *(moment - BEFORE for moment in expected if now < moment + AFTER)])


def _nobody(_event: ProbeEvent) -> None:
    """Tell nobody."""
