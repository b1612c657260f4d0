"""Write the command that repeats one case, for sh(1). Uses specs and strings; no processes.

It has every option that was given and can change the result. A field of a spec is the option of its name, so that a new
one is written without a change here.
"""

import glob
import shlex
from collections.abc import Iterator
from dataclasses import fields

from halloo._check.spec import CheckSpec, ServerSpec

PLACED = ("command", "address", "scheme", "folder")  # fields that are written at their own places


def repeat_command(spec: CheckSpec, case: str, *, seed: int, longer: bool = False, strict: bool = False) -> str:
    """Return the command for a case, by its id."""
    words = ["halloo", "check", "server" if isinstance(spec, ServerSpec) else "client"]
    words += ["--only", case, "--seed", str(seed), *(["--long"] if longer else []), *(["--strict"] if strict else [])]
    if spec.command and spec.scheme != "tcp":
        words.append(f"--{spec.scheme}")
    for each in fields(spec):
        if each.name not in PLACED and (value := getattr(spec, each.name)) != each.default:
            words += _option(f"--{each.name.replace('_', '-')}", value)
    return shlex.join([*words, *_target(spec)])


def _option(flag: str, value: object) -> Iterator[str]:
    if value is True:
        yield flag
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
            return ("--", *alone.command) if alone else ("--each", glob.escape(spec.folder), "--", *spec.command)
    return ("--", *spec.command)
