"""End a server without losing a byte that the kernel had accepted: answer everything, and only then say goodbye.

Knows the loop and its clock. A close with unread input is a reset, which destroys replies already sent; so a connection
is ended only when nothing of it is left to read, nothing is on its way to the peer, and it has been quiet for a while.
"""

from collections.abc import Callable

from halloo.net.serving import table as states
from halloo.net.serving.tcp import Loop

QUIET = 0.25  # seconds without a byte: longer than a pause between two segments
STEP = 0.02  # seconds between two looks


def drain(loop: Loop, seconds: float, *, closed: Callable[[], None]) -> None:
    """Let the loop finish what it owes, within `seconds`; `closed` is called when the last client has been taken in.

    What the deadline, or a `stop` meanwhile, cuts off is counted.
    """
    loop.running = True
    deadline = loop.clock() + seconds
    loop.door.shut()
    if loop.datagrams:
        loop.datagrams.finish(deadline)
    closed()
    now = loop.clock()
    heard = dict.fromkeys(loop.table.within(*states.CONNECTED), now)
    while loop.running and loop.table.open and now < deadline:
        ready = loop.turn(STEP)
        now = loop.clock()
        for act in loop.timers.due(now):
            act()
        heard.update((fd, now) for fd, _ in ready)
        for fd in loop.table.within(states.FLOWING, states.METERED, states.ANSWERING):
            if now - heard.get(fd, now) >= QUIET and not loop.poller.in_flight(fd):
                loop.endings.end(fd, "drained")
    for fd in loop.table.within(*states.CONNECTED):
        if loop.table.state[fd] != states.LEAVING:
            loop.table.count("cut_off")
            loop.table.row[states.LOST] += len(loop.table.debts.get(fd, b"")) + loop.poller.in_flight(fd)
    loop.running = False
