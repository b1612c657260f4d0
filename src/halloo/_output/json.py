"""Convert values to what JSON can represent."""

import math
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any


def plain_json(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Convert to strings, numbers, lists and mappings; NaN and infinities become null.

    >>> plain_json({"p99": float("nan"), "sizes": (1, 2)})
    {'p99': None, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    return str(value).encode(errors="backslashreplace").decode()  # a lone surrogate is no text in JSON (RFC 8259, 8.2)


@cache
def version() -> str | None:
    """Return the version of halloo. Importing it from `halloo` would be an import upwards."""
    try:
        return metadata.version("halloo")
    except metadata.PackageNotFoundError:  # it runs from an uninstalled source tree
        return None


@cache
def system() -> dict[str, str]:
    """Return the platform, the machine and the Python version."""
    return {
        "platform": f"{platform.system()}-{platform.release()}",  # platform() would start a process
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
