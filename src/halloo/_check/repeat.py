"""Write the command that repeats one case, for sh(1). Uses specs and strings; no processes.

It has every option that was given and can change the result. A field of a spec is the option of its name, so that a new
one is written without a change here.
"""

import glob
import shlex
from collections.abc import Iterator
from dataclasses import fields

from halloo._check.spec import CheckSpec, ServerSpec

PLACED = ("command", "address", "reached", "scheme", "folder")  # fields that are no options: part of the target


def repeat_command(spec: CheckSpec, case: str, *, seed: int, longer: bool = False, strict: bool = False) -> str:
    """Return the command for a case, by its id."""
    given: dict[str, object] = {"only": case, "seed": seed, "long": longer, "strict": strict}
    if spec.command and spec.scheme != "tcp":
        given[spec.scheme] = True
    for each in fields(spec):
        if each.name not in PLACED and (value := getattr(spec, each.name)) != each.default:
            given[each.name] = value
    kind = "server" if isinstance(spec, ServerSpec) else "client"
    options = (word for name, value in given.items() for word in _option(name, value))
    return shlex.join(["halloo", "check", kind, *options, *_target(spec)])


def _option(name: str, value: object) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from (flag,) * value
    else:
        for each in value if isinstance(value, tuple) else (value,):
            text = str(each)
            yield from (f"{flag}={text}",) if text.startswith("-") else (flag, text)


def _target(spec: CheckSpec) -> tuple[str, ...]:
    if isinstance(spec, ServerSpec):
        if not spec.command:
            return (str(spec.address),)
        if spec.folder:
            alone = spec.for_folder_alone()
            folder = tuple(_option("each", glob.escape(spec.folder)))
            return ("--", *alone.command) if alone else (*folder, "--", *spec.command)
    return ("--", *spec.command)
