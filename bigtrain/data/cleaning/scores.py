"""The scores of `Cleaned.scores`, and the edges of the bins in which their distributions are counted."""

from __future__ import annotations

from typing import NamedTuple


class Broken(NamedTuple):
    """The rule that a document breaks."""

    rule: str
    score: float | None = None  # what was measured, where that is a number
    limit: float | None = None  # of that


def broken(rule: str, score: float, *, least: float | None = None, most: float | None = None) -> Broken | None:
    """The rule with the bound that the score lies outside of; None where it keeps both. A bound may be None."""
    if least is not None and score < least:
        return Broken(rule, score, least)
    return Broken(rule, score, most) if most is not None and score > most else None


def _even(last: float, n_bins: int) -> tuple[float, ...]:
    return tuple(round(last * index / n_bins, 6) for index in range(n_bins + 1))


_SHARE = _even(1, 20)
_COUNT = (0.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7)

EDGES: dict[str, tuple[float, ...]] = {  # what lies outside belongs to the bin at that end
    "language_confidence": _SHARE,
    "words": _COUNT,
    "mean_word_length": _even(12, 24),
    "symbols_per_word": _even(0.2, 20),
    "bullet_lines": _SHARE,
    "ellipsis_lines": _SHARE,
    "alphabetic_words": _SHARE,
    "stop_words": _even(16, 16),
    "duplicate_lines": _SHARE,
    "duplicate_line_characters": _SHARE,
    "duplicate_paragraphs": _SHARE,
    "duplicate_paragraph_characters": _SHARE,
    "top_2grams": _even(0.4, 20),
    "duplicate_5grams": _even(0.5, 20),
    "line_ends": _SHARE,
    "short_lines": _SHARE,
    "longest_line": _COUNT,
    "mean_line_length": _even(200, 20),
    "alphanumeric": _SHARE,
    "listed_words": _even(0.1, 20),
}
