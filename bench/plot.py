"""Plot results: `python -m bench.plot [RESULT.json ...]` writes a self-contained HTML page for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def page(result: dict[str, Any]) -> str:
    """Return the page: for each row, each server's rate as a ratio to the reference's, with its interval."""
    import plotly.graph_objects as go  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415  # heavy, an extra

    parts: list[str] = []
    for name, servers in result["results"].items():
        about = result["rows"][name]
        shown = {server: one for server, one in servers.items() if one["rate_ratio"]}
        names = sorted(shown, key=lambda server: shown[server]["rate_ratio"]["median"])
        ratios = [shown[server]["rate_ratio"] for server in names]
        texts = [f"{shown[server]['rate']['median']:,.0f} {about['unit']}{loss(shown[server])}" for server in names]
        bars = go.Bar(
            x=[ratio["median"] for ratio in ratios],
            y=names,
            orientation="h",
            text=texts,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [ratio["high"] - ratio["median"] for ratio in ratios],
                "arrayminus": [ratio["median"] - ratio["low"] for ratio in ratios],
            },
        )
        figure = go.Figure(bars)
        figure.update_layout(
            title=name,
            xaxis_title=f"ratio to {about['reference']}, median of paired rounds, 95 %",
            height=140 + 32 * len(names),
            template="plotly_white",
        )
        parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    machine = result["machine"]
    line = f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}, {result['date']}"
    head = "<!doctype html><meta charset=utf-8><title>halloo: bench</title><style>body{font-family:sans-serif}</style>"
    return f"{head}<h1>Echo servers, side by side</h1><p>{line}</p>{''.join(parts)}"


def loss(one: dict[str, Any]) -> str:
    """Return the fraction of lost datagrams as text, empty if none were lost."""
    share = one.get("lost_share", 0)
    return f", {share:.1%} lost" if share else ""


def newest() -> list[Path]:
    """Return the last result of each comparison; the names are `DATE-COMPARISON.json`."""
    return list({path.stem.rpartition("-")[2]: path for path in sorted(RESULTS.glob("*.json"))}.values())


def main(argv: list[str] | None = None) -> int:
    """Plot the given results, or the newest of each comparison."""
    words = sys.argv[1:] if argv is None else argv
    found = [Path(word) for word in words] or newest()
    if not found:
        print("no result yet; make one with: python -m bench.tcp --quick, or bench.udp", file=sys.stderr)
        return 2
    for result in found:
        target = result.with_suffix(".html")
        target.write_text(page(json.loads(result.read_text())), encoding="utf-8")
        print(f"written: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
