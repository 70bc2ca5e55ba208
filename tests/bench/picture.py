"""Draw the durable figures: jobs a second over callers, and the latency of a create.

The SVG has its texts as texts, and a white ground, which is readable on a dark page, too. The same
figures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench import durable, peers
from tests.bench.measure import Best

_INCHES = (8.0, 3.9)  # 72 points to the inch: 576 wide
_ENGINE, _FLOOR, _HUEY, _DBOS = "#1f5fbf", "#7a7a7a", "#c2571a", "#2e8540"
_LATENCY_CALLERS = (1, 100, 1_000)
_SHADES = ("#9dbfec", "#4c86d9", "#173f80")


def is_drawable() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(path: Path, figures: Best, peer_figures: Best | None) -> None:
    """Draw the figures of `tests.bench.durable`, and of `tests.bench.peers` if measured."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "engine",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure, (left, right) = import_module("matplotlib.pyplot").subplots(
            1, 2, figsize=_INCHES, layout="constrained", width_ratios=(3, 2)
        )
        _throughput(left, figures, peer_figures)
        _latency(right, figures)
        figure.savefig(path, facecolor="white", metadata=_metadata(path))


def _metadata(path: Path) -> dict[str, None] | None:
    """Return the metadata that keeps the date and the program out of an SVG."""
    return {"Date": None, "Creator": None} if path.suffix == ".svg" else None


def _throughput(axes: Any, figures: Best, peer_figures: Best | None) -> None:
    lines = [
        ("plain sqlite3, batches as large", _FLOOR, "--", _rates("floor", figures)),
        ("engine", _ENGINE, "-", _rates("engine", figures)),
    ]
    if peer_figures is not None:
        lines += [
            (f"{title} {version(name)}", colour, "-", _rates(name, peer_figures))
            for name, title, colour in (("huey", "huey", _HUEY), ("dbos", "DBOS", _DBOS))
            if peers.why_left_out(name) is None
        ]
    for label, colour, style, rates in lines:
        axes.plot(durable.CALLERS, rates, style, color=colour, label=label, marker="o", ms=4)
    axes.set(xscale="log", yscale="log", xlabel="concurrent callers")
    axes.set_title("durable jobs accepted a second", loc="left", fontsize=10)
    _plain_numbers(axes.xaxis, durable.CALLERS)
    _plain_numbers(axes.yaxis, (100, 1_000, 10_000, 100_000))
    axes.set_ylim(100, 200_000)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _rates(name: str, figures: Best) -> list[float]:
    return [figures[f"{name} {callers}"].counts for callers in durable.CALLERS]


def _latency(axes: Any, figures: Best) -> None:
    width = 0.27
    for number, percent in enumerate(durable.PERCENTILES):
        heights = [
            1e3 / figures[f"{durable.creates_name(callers)} p{percent}"].counts
            for callers in _LATENCY_CALLERS
        ]
        places = [place + (number - 1) * width for place in range(len(_LATENCY_CALLERS))]
        bars = axes.bar(places, heights, width, color=_SHADES[number], label=f"p{percent}")
        axes.bar_label(bars, [_short(height) for height in heights], fontsize=7.5, padding=2)
    axes.set(yscale="log", xlabel="concurrent callers")
    axes.set_title("milliseconds that a create takes", loc="left", fontsize=10)
    axes.set_xticks(range(len(_LATENCY_CALLERS)), [f"{callers:,}" for callers in _LATENCY_CALLERS])
    _plain_numbers(axes.yaxis, (0.1, 1, 10, 100))
    axes.set_ylim(0.1, 400)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _plain_numbers(axis: Any, places: Sequence[float]) -> None:
    """Label an axis with plain numbers, not with powers of ten."""
    axis.set_ticks(places, [f"{place:,}" for place in places])
    axis.set_minor_locator(import_module("matplotlib.ticker").NullLocator())


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 9.95 else f"{milliseconds:.1f}"
