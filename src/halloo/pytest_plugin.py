"""The pytest fixture `halloo_server`: a running echo, to test clients against.

halloo is imported when the fixture is used, so that a suite without it pays nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from halloo._server.server import Server


@pytest.fixture
def halloo_server() -> "Iterator[Server]":
    """Serve the echo on a free loopback port; `halloo_server.address` has its `host` and `port`."""
    from halloo._server.server import Server  # noqa: PLC0415 - see above

    with Server() as server:
        yield server
