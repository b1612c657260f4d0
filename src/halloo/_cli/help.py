"""Lay out help pages in two columns, in the width of the terminal.

Formats cyclopts' entries; their text comes from signatures and docstrings.
"""

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # slow to import, and only help pages need them
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

COLUMN = 30  # where descriptions begin
NARROW = 50  # minimum width of descriptions; below it they get lines of their own


class Columns:
    """A formatter for cyclopts: names on the left, descriptions on the right."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Write one group of entries."""
        if not panel.entries:
            return
        lines = [f"{panel.title}:"]
        for entry in panel.entries:
            lines += _entry(", ".join(entry.display_labels_with_metavar), _description(entry), options.max_width)
        _write(console, "\n".join(lines))

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:  # noqa: ANN401, ARG002 - cyclopts' signature
        """Write the usage line."""
        _write(console, f"Usage: {_plain(usage)}")

    def render_description(self, console: "Console", options: "ConsoleOptions", description: Any) -> None:  # noqa: ANN401 - as above
        """Write the description of the command."""
        paragraphs = _plain(description).split("\n\n")
        _write(console, "\n\n".join(textwrap.fill(" ".join(text.split()), options.max_width) for text in paragraphs))


def _entry(label: str, text: str, width: int) -> list[str]:
    indent = COLUMN if width - COLUMN >= NARROW else 8
    wrapped = textwrap.wrap(text, max(width - indent, 20))
    first = f"  {label}"
    if len(first) + 2 <= indent and wrapped:
        first = f"{first:<{indent}}{wrapped.pop(0)}"
    return [first, *(" " * indent + line for line in wrapped)]


def _description(entry: "HelpEntry") -> str:
    text = " ".join(_plain(entry.description).split())
    if entry.choices:
        text += f" [{'|'.join(entry.choices)}]"
    if entry.default is not None and entry.default != "":
        text += f" [default: {entry.default}]"
    return text


def _plain(text: Any) -> str:  # noqa: ANN401 - a str, rich's Text, or cyclopts' wrapper of one
    inner = getattr(text, "primary_renderable", text)
    return str(getattr(inner, "plain", inner) or "").strip()


def _write(console: "Console", text: str) -> None:
    if text:
        console.print(text, markup=False, highlight=False, soft_wrap=True, end="\n\n")
