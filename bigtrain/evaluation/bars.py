"""Bar charts as inline SVG, in the manner of `svg.py`: a waterfall, a histogram, and a bar for the cell of a table."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigtrain.evaluation.svg import LEFT, RIGHT, Axis, tick_label
from bigtrain.units import si

WIDE, NARROW, HEIGHT, TOP, BOTTOM = 800, 480, 210, 10, 26
MOST_BARS = 60  # of a histogram: neighbours are added up where there are more
ROW, NAME_WIDTH, NUMBERS_WIDTH = 26, 140, 225  # pixels of a waterfall


@dataclass(frozen=True)
class Stage:
    """One step of a waterfall: how much came in, how much was left."""

    name: str
    before: int
    after: int

    @property
    def change(self) -> str:
        """What it took away, and which share; what it added has a plus."""
        taken = self.before - self.after
        share = f" ({taken / self.before:.1%})" if self.before and taken > 0 else ""
        share = " (<0.1%)" if share == " (0.0%)" else share
        return f"{_short(taken)}{share}" if taken > 0 else f"+{_short(-taken)}" if taken else "–"


def waterfall(identifier: str, title: str, stages: Sequence[Stage]) -> str:
    """What is left after each stage, and what it took away; nothing where there is nothing to show."""
    most = max((max(stage.before, stage.after) for stage in stages), default=0)
    if not most:
        return ""
    start, scale = NAME_WIDTH, (WIDE - NUMBERS_WIDTH - NAME_WIDTH) / most
    parts = [_right(WIDE - 84, 16, "taken away", "note"), _right(WIDE - 4, 16, "left", "note")]
    for number, stage in enumerate(stages):
        top, left = 26 + number * ROW, start + stage.after * scale
        width = (stage.before - stage.after) * scale
        bars = f'<rect class="fill c0" x="{start}" y="{top + 2}" width="{stage.after * scale:.1f}" height="16"/>'
        if width > 0:  # never so thin that it cannot be seen
            bars += f'<rect class="taken" x="{left:.1f}" y="{top + 2}" width="{max(width, 1.5):.1f}" height="16"/>'
        hint = f"{html.escape(stage.name)}: {stage.before:,} in, {stage.after:,} left"
        parts += [
            f'<line class="grid" x1="0" x2="{WIDE}" y1="{top + ROW - 3}" y2="{top + ROW - 3}"/>',
            f'<text x="0" y="{top + 15}">{html.escape(stage.name)}</text><g><title>{hint}</title>{bars}</g>',
            _right(WIDE - 84, top + 15, stage.change),
            _right(WIDE - 4, top + 15, _short(stage.after)),
        ]
    summary = "; ".join(f"{stage.name}: {stage.before:,} in, {stage.after:,} left" for stage in stages)
    return _svg(identifier, title, summary, WIDE, 26 + ROW * len(stages), parts)


def histogram(identifier: str, title: str, edges: Sequence[float], counts: Sequence[int]) -> str:
    """Bars of one width between their edges, however these are spaced; nothing where all counts are zero.

    edges: one more than counts, the last may be infinite or missing: that bin has no upper end.
    """
    bins = _merged(*_trimmed(list(edges), list(counts)))
    if not bins:
        return ""
    width = (NARROW - LEFT - RIGHT) / len(bins)
    y_axis = Axis(0.0, max(count for _, _, count in bins) * 1.08, HEIGHT - BOTTOM, TOP)
    bottom, parts = HEIGHT - BOTTOM, []
    for tick in y_axis.ticks():
        y = float(y_axis(np.array(tick)))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{NARROW - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_right(LEFT - 8, y + 4, tick_label(tick)))
    for number, (low, high, count) in enumerate(bins):
        x, y = LEFT + number * width, float(y_axis(np.array(count)))
        hint = f"<title>{_range(low, high)}: {count:,}</title>"
        bar = f'x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(width - 1, 0.5):.1f}" height="{bottom - y:.1f}"'
        parts.append(f'<rect class="fill c0" {bar}>{hint}</rect>')
    every = -(-len(bins) // 6)
    for number in range(0, len(bins) + 1, every):
        edge = bins[number][0] if number < len(bins) else bins[-1][1]
        if np.isfinite(edge):
            x = LEFT + number * width
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            anchor = "end" if number == len(bins) else "middle"  # the last one would be cut off
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="{anchor}">{tick_label(edge)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{NARROW - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    summary = "; ".join(f"{_range(low, high)}: {count:,}" for low, high, count in bins)
    return _svg(identifier, title, summary, NARROW, HEIGHT, parts)


def share_bar(parts: Sequence[float], most: float) -> str:
    """A bar for a table's cell, its parts one after the other; `most` fills the cell."""
    scale, x, rects = 160 / most if most else 0.0, 0.0, []
    for number, part in enumerate(parts):
        width = max(part * scale, 1.0 if part else 0.0)
        rects.append(f'<rect class="fill c{number % 6}" x="{x:.1f}" y="0" width="{width:.1f}" height="12"/>')
        x += width
    return f'<svg class="share" viewBox="0 0 160 12" aria-hidden="true">{"".join(rects)}</svg>'


def _trimmed(edges: list[float], counts: list[int]) -> tuple[list[float], list[int]]:
    """Without the empty bins at both ends; every bin gets its end."""
    edges += [float("inf")] * (len(counts) + 1 - len(edges))
    filled = [number for number, count in enumerate(counts) if count]
    if not filled:
        return [], []
    return edges[filled[0] : filled[-1] + 2], counts[filled[0] : filled[-1] + 1]


def _merged(edges: list[float], counts: list[int]) -> list[tuple[float, float, int]]:
    """(low, high, count) of at most MOST_BARS bins."""
    each = -(-len(counts) // MOST_BARS) or 1
    starts = range(0, len(counts), each)
    return [(edges[at], edges[min(at + each, len(counts))], sum(counts[at : at + each])) for at in starts]


def _short(number: int) -> str:
    """Whole as far as it has room; the table beside a chart says all."""
    return f"{number:,}" if number < 10_000_000 else si(number)


def _range(low: float, high: float) -> str:
    return f"{low:,.6g} to {high:,.6g}" if np.isfinite(high) else f"{low:,.6g} or more"


def _right(x: float, y: float, text: str, kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="end">{html.escape(text)}</text>'


def _svg(identifier: str, title: str, summary: str, width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{identifier}-t {identifier}-d">'
        f'<title id="{identifier}-t">{html.escape(title)}</title>'
        f'<desc id="{identifier}-d">{html.escape(summary)}</desc>{"".join(parts)}</svg>'
    )
