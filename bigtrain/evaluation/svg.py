"""Charts as inline SVG, of lines and of tables: no script and no font; colours are the classes `c0` to `c5`."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

import numpy as np

from bigtrain.units import si

MOST_POINTS = 600  # of a drawn curve: more cannot be told apart on paper
SMOOTHED_FROM = 60  # points: a noisy curve of so many gets its moving average drawn over it
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 260, 56, 14, 34, 40
LEGEND_LINE = 18
LETTER = 6.6  # pixels of one at 12 pixels, about
NAME_LETTERS, CELL_WIDTH, CELL_HEIGHT = 17, 72, 28  # of a heat map, at most


@dataclass
class Series:
    """A curve. `marked` draws its points too; `noisy` draws it pale below its own moving average."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 0  # of the class, modulo 6
    marked: bool = False
    noisy: bool = False

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x, float), np.asarray(self.y, float)
        drawable = np.isfinite(x) & np.isfinite(y) & (np.abs(y) < 1e30)
        self.x, self.y = x[drawable], y[drawable]


@dataclass
class Axis:
    """Values between `low` and `high` onto pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Pixels of values."""
        low, high = self.low, self.high
        if self.log:
            values, low, high = np.log(values), math.log(low), math.log(high)
        return np.asarray(self.start + (values - low) / (high - low) * (self.end - self.start))

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                found = [tick for tick in found if self.low <= tick <= self.high]
                if len(found) > 8:
                    return found[:: -(-len(found) // 8)]
                if len(found) >= 4:
                    return found
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        ticks = [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return ticks if step >= 1e-9 else [number * step for number in range(first, first + len(ticks))]


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` of the points: the lowest and the highest of each stretch, so that no spike is lost."""
    if len(x) <= most:
        return x, y
    keep = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), most // 2 - 1):
        keep |= {int(part[y[part].argmin()]), int(part[y[part].argmax()])}
    index = sorted(keep)
    return x[index], y[index]


def moving_average(y: np.ndarray) -> np.ndarray:
    """Mean over about a fortieth of the points around each one, over fewer at the ends."""
    half = max(1, len(y) // 80)
    sums = np.concatenate([[0.0], np.cumsum(y)])
    here = np.arange(len(y))
    reach = np.minimum(half, np.minimum(here, len(y) - 1 - here))  # symmetric: a slope is not bent at the ends
    return np.asarray((sums[here + reach + 1] - sums[here - reach]) / (2 * reach + 1))


def _axes(series: Sequence[Series], width: int, log: bool, from_zero: bool) -> tuple[Axis, Axis]:
    x, y = np.concatenate([s.x for s in series]), np.concatenate([s.y for s in series])
    left, right = float(x.min()), float(x.max())
    if left == right:
        left, right = left - 1, right + 1
    elif 0 < left <= 0.1 * right:
        left = 0.0
    low, high = float(y.min()), float(y.max())
    log = log and not from_zero and low > 0 and high / low >= 3
    if from_zero and low >= 0:
        low, high = 0.0, high * 1.08 or 1.0
    elif low == high:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    elif log:
        margin = (high / low) ** 0.04
        low, high = low / margin, high * margin
    else:
        margin = (high - low) * 0.05
        low, high = low - margin, high + margin
    return Axis(left, right, LEFT, width - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP, log)


def tick_label(tick: float) -> str:
    """A tick as people read it."""
    return si(tick) if abs(tick) >= 1000 else f"{tick:.5g}"


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _curve(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    colour = f"c{series.colour % 6}"
    parts = []
    smooth = series.noisy and len(series.x) >= SMOOTHED_FROM
    x, y = thinned(series.x, series.y)
    if len(x) > 1:
        pale = " pale" if smooth else ""
        parts.append(f'<polyline class="line {colour}{pale}" points="{_points(x_axis(x), y_axis(y))}"/>')
    if smooth:
        average = moving_average(series.y)
        index = np.unique(np.linspace(0, len(average) - 1, MOST_POINTS // 2).astype(int))
        points = _points(x_axis(series.x[index]), y_axis(average[index]))
        parts.append(f'<polyline class="line {colour}" points="{points}"/>')
    if (series.marked and len(x) <= 60) or len(x) == 1:
        for at, value, a, b in zip(x, y, x_axis(x), y_axis(y), strict=True):
            hint = f"<title>{html.escape(series.name)}, {si(at)}: {value:.5g}</title>"
            parts.append(f'<circle class="dot {colour}" cx="{a:.1f}" cy="{b:.1f}" r="3">{hint}</circle>')
    return "".join(parts)


def _grid(x_axis: Axis, y_axis: Axis, x_label: str) -> str:
    bottom = HEIGHT - BOTTOM
    parts = []
    for tick in y_axis.ticks():
        y = float(y_axis(np.array(tick)))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{x_axis.end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick_label(tick)}</text>')
    for tick in x_axis.ticks():
        x = float(x_axis(np.array(tick)))
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick_label(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{x_axis.end}" y1="{bottom}" y2="{bottom}"/>')
    note = f"{x_label}; logarithmic scale" if y_axis.log else x_label
    parts.append(f'<text class="note" x="{x_axis.end}" y="{HEIGHT - 6}" text-anchor="end">{html.escape(note)}</text>')
    return "".join(parts)


def _legend(series: Sequence[Series], last_values: bool, width: int) -> tuple[str, int]:
    """The names in as many lines as they need, and how much higher than one line that is."""
    parts, x, y = [], LEFT, 14
    for one in series:
        last = f" {one.y[-1]:.4g}" if abs(one.y[-1]) < 1000 else f" {si(one.y[-1])}"
        last *= last_values
        text = _shortened(one.name, int((width - LEFT - 24) / LETTER) - len(last)) + last
        end = x + 24 + round(LETTER * _letters(text))
        if end > width and x > LEFT:
            end, x, y = end - x + LEFT, LEFT, y + LEGEND_LINE
        parts.append(f'<line class="line c{one.colour % 6}" x1="{x}" x2="{x + 18}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{x + 24}" y="{y + 4}">{html.escape(text)}</text>')
        x = end + 22
    return "".join(parts), y - 14


def chart(
    identifier: str,
    title: str,
    series: Sequence[Series],
    *,
    x_label: str = "step",
    wide: bool = False,
    log: bool = False,
    from_zero: bool = False,
    last_values: bool = True,
) -> str:
    """An SVG element, or nothing where no series has a point.

    `log`: a logarithmic scale where the values are positive and span a factor of three. `from_zero`: the scale begins
    at zero. `last_values`: the legend says each curve's.
    """
    series = [one for one in series if len(one.x)]
    if not series:
        return ""
    width = 980 if wide else 480
    x_axis, y_axis = _axes(series, width, log, from_zero)
    summary = "; ".join(
        f"{one.name}: from {one.y[0]:.5g} at {si(one.x[0])} to {one.y[-1]:.5g} at {si(one.x[-1])},"
        f" lowest {one.y.min():.5g}"
        for one in series
    )
    legend, lower = _legend(series, last_values, width)
    curves = "".join(_curve(one, x_axis, y_axis) for one in series)
    below = f'<g transform="translate(0 {lower})">{_grid(x_axis, y_axis, x_label)}{curves}</g>'
    return _picture(identifier, title, summary, (width, HEIGHT + lower), [below, legend])


def heat_map(identifier: str, title: str, names: Sequence[str], counts: np.ndarray) -> str:
    """Counts of truth (rows) by prediction (columns) as an SVG element, each cell as dark as its share of its row.

    names: of the rows and of the columns, C; counts: (C, C). What is right has another colour than what is wrong.
    Made for up to 20 names.
    """
    short = [_shortened(name) for name in names]
    left = 16 + round(LETTER * max(map(_letters, ["truth", *short])))
    width = 480 if len(names) <= 6 else 800
    cell = min(CELL_WIDTH, (width - left - RIGHT) / len(names))
    upright = max(map(_letters, short)) * LETTER > cell - 6
    top = TOP + (round(LETTER * max(map(_letters, short))) if upright else 12)
    parts = [
        f'<text class="note" x="{left - 8}" y="{top - 6}" text-anchor="end">truth</text>',
        f'<text class="note" x="{left}" y="14">prediction</text>',
    ]
    for place, name in enumerate(short):
        x, y, shown = left + (place + 0.5) * cell, top + place * CELL_HEIGHT + 18, html.escape(name)
        where = f'transform="translate({x + 4:.1f} {top - 6}) rotate(-90)"'
        where = where if upright else f'x="{x:.1f}" y="{top - 6}" text-anchor="middle"'
        parts.append(f'<text {where}>{shown}</text><text x="{left - 8}" y="{y}" text-anchor="end">{shown}</text>')
    rows = counts.sum(1)
    for row, column in np.argwhere(counts > 0).tolist():
        x, y, count = left + column * cell, top + row * CELL_HEIGHT, int(counts[row, column])
        share, written = count / rows[row], si(count) if count > 9999 else count
        hint = f"{names[row]} as {names[column]}: {count:,} of {int(rows[row]):,} ({share:.1%})"
        look = f'class="fill c{int(row != column)}" fill-opacity="{0.06 + 0.54 * share:.2f}"'
        where = f'x="{x + 0.5:.1f}" y="{y + 0.5}" width="{cell - 1:.1f}" height="{CELL_HEIGHT - 1}"'
        number = f'<text x="{x + cell / 2:.1f}" y="{y + 18}" text-anchor="middle">{written}</text>'
        parts.append(f"<g><title>{html.escape(hint)}</title><rect {look} {where}/>{number}</g>")
    right, bottom = left + cell * len(names), top + CELL_HEIGHT * len(names)
    parts.append(f'<path class="axis" fill="none" d="M{left},{top}H{right:.1f}V{bottom}H{left}Z"/>')
    return _picture(identifier, title, _confused(names, counts), (width, bottom + 8), parts)


def _confused(names: Sequence[str], counts: np.ndarray) -> str:
    """A heat map in words."""
    found = []
    for number, name in enumerate(names):
        wrong = np.where(np.arange(len(names)) == number, 0, counts[number])
        most = f", {int(wrong.max()):,} as {names[int(wrong.argmax())]}" if wrong.any() else ""
        found.append(f"{name}: {int(counts[number, number]):,} of {int(counts[number].sum()):,} right{most}")
    return "; ".join(found)


def _letters(text: str) -> int:
    """How wide text is, in Latin letters."""
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


def _shortened(name: str, most: int = NAME_LETTERS) -> str:
    if _letters(name) <= most:
        return name
    while _letters(name) >= most:
        name = name[:-1]
    return f"{name.rstrip()}…"


def _picture(identifier: str, title: str, summary: str, size: tuple[int, int], parts: Sequence[str]) -> str:
    """`title` and `summary` are what it says to those who do not see it."""
    return (
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-labelledby="{identifier}-t {identifier}-d">'
        f'<title id="{identifier}-t">{html.escape(title)}</title>'
        f'<desc id="{identifier}-d">{html.escape(summary)}</desc>{"".join(parts)}</svg>'
    )
