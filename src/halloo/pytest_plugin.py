"""Give pytest the fixture `halloo_server`: a running echo, for testing clients against.

Imports nothing of halloo until the fixture is used, so that a suite which does not use it pays nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from halloo._server.server import Server


@pytest.fixture
def halloo_server() -> "Iterator[Server]":
    """Serve the echo on a free loopback port; `halloo_server.address` has its `host` and `port`."""
    from halloo._server.serve import serving  # noqa: PLC0415 - see the charter above

    with serving() as server:
        yield server
