"""Leave an object to the process that made it: a forked child only releases its descriptors (fork(2)).

A child that closed it in the usual way would act on what both processes share: an epoll set, a TLS session, the file of
a Unix socket. A child that kept the descriptors would keep the port, and the clients' connections, open.
"""

import os
from typing import Protocol
from weakref import WeakSet


class Releasable(Protocol):
    """What holds descriptors."""

    def release(self) -> None:
        """Close the descriptors in this process alone, without locks: the threads that held them are the parent's."""


_served: WeakSet[Releasable] = WeakSet()


def release_in_children(owner: Releasable) -> None:
    """Call `owner.release()` in every child that is forked from now on."""
    _served.add(owner)


def _release_all() -> None:
    owners = [*_served]
    _served.clear()  # first: what a child goes on using registers itself anew, for a child of its own
    for owner in owners:
        owner.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)
