"""Turn any value into what JSON can say: numbers stay numbers, and what is none becomes null.

Knows values. Knows no report.
"""

import math
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any


def plain_json(value: object) -> Any:  # noqa: ANN401 - whatever JSON has
    """Give it in strings, numbers, lists and mappings.

    >>> plain_json({"p99": float("nan"), "sizes": (1, 2)})
    {'p99': None, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


@cache
def version() -> str | None:
    """Say which halloo this is; the package, which knows it too, is above this room."""
    try:
        return metadata.version("halloo")
    except metadata.PackageNotFoundError:  # it runs from its source
        return None


@cache
def system() -> dict[str, str]:
    """Name the system, the machine and the Python."""
    return {
        "platform": f"{platform.system()}-{platform.release()}",  # platform() would start a process
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
