"""Where results go: a file, packed when its name ends in .gz, or standard output for `-`.

What is opened before the work begins is known to be writable when it is done.
"""

import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from halloo.errors import LocalError

STANDARD = "-"


@contextmanager
def opened(place: str) -> Iterator[TextIO]:
    """Open a place for text. Raises LocalError."""
    if place == STANDARD:
        yield sys.stdout
        return
    try:
        raw = gzip.open(place, "wb") if place.endswith(".gz") else open(place, "wb")  # noqa: SIM115, PTH123 - closed below
    except OSError as error:
        raise LocalError(
            f"{place} cannot be written: {(error.strerror or str(error)).lower()}", "name another file"
        ) from error
    with io.TextIOWrapper(cast("io.BufferedWriter", raw), encoding="utf-8", newline="\n") as file:
        yield file
