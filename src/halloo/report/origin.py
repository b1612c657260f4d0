"""Say where a report comes from: which halloo, on which system.

Knows the interpreter and its packages. Both take files or a while to find out, so that who may run out of files asks
before.
"""

import platform
from functools import cache
from importlib import metadata


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
