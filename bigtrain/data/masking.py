"""Which tokens of a row are hidden, and behind what: a pure function of the row's key.

Devlin et al. 2019 (arXiv 1810.04805): 15 % of the tokens are asked for; of these 80 % are replaced by the mask token,
10 % by a random one, 10 % stay as they are. Whole words as in the authors' later release, spans after Joshi et al.
2020, "SpanBERT" (arXiv 1907.10529).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.frame import WordMarks, mask_id, special_ids
from bigtrain.data.loader import IGNORED
from bigtrain.objectives.schema import MaskUnit
from bigtrain.tokenizer import Tokenizer

_HIDDEN, _RANDOM = 0.8, 0.1
_MEAN_SPAN = 3.8  # words: the mean of SpanBERT's lengths
_ORDER, _ACTION, _TOKEN, _SPAN = range(4)  # what a number is drawn for

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Keys = NDArray[np.uint64]


class Masked(NamedTuple):
    """Rows with hidden tokens. N rows, T tokens, P tokens asked for at most."""

    tokens: Ints  # (N, T)
    positions: Ints  # (N, P), ascending; 0 where there are fewer
    targets: Ints  # (N, P): what stood there; IGNORED where there are fewer


class Masker:
    """Hides tokens of rows. Special tokens are never hidden, nor drawn in place of another."""

    def __init__(self, tokenizer: Tokenizer, unit: MaskUnit = MaskUnit.tokens, fraction: float = 0.15) -> None:
        self.mask_id, self.unit, self.fraction = mask_id(tokenizer), unit, fraction
        special = special_ids(tokenizer)
        self.is_text = np.ones(tokenizer.vocab_size, np.bool_)
        self.is_text[special] = False
        self.ordinary = np.flatnonzero(self.is_text)
        self.marks = WordMarks.of(tokenizer)

    def n_targets(self, n_tokens: int) -> int:
        """Tokens of a row that are asked for at most."""
        return max(1, int(self.fraction * n_tokens + 0.5))

    def __call__(self, tokens: Ints, keys: Keys, asked: Flags | None = None, continues: Flags | None = None) -> Masked:
        """Hide `fraction` of the text of each row (N, T), rounded, less what no whole unit fits into.

        keys: (N,), all that the choice depends on besides the row. asked: (N, T), which tokens may be hidden.
        continues: (N, T), which tokens go on with a word; without it the marks of the tokenizer tell.
        """
        text = self.is_text[tokens] if asked is None else self.is_text[tokens] & asked
        budget = np.where(text.any(1), np.maximum(1, (self.fraction * text.sum(1) + 0.5).astype(np.int64)), 0)
        unit = np.cumsum(self._begins(tokens, text, keys, budget, continues), axis=1) - 1
        hidden = text & np.take_along_axis(_drawn(unit, text, keys, budget), np.maximum(unit, 0), axis=1)

        places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
        action = _uniform(keys, _ACTION, unit if self.unit is MaskUnit.spans else places)
        drawn = self.ordinary[_hash(keys, _TOKEN, places) % np.uint64(len(self.ordinary))]
        shown = np.where(action < _HIDDEN, self.mask_id, np.where(action < _HIDDEN + _RANDOM, drawn, tokens))
        order = np.argsort(~hidden, axis=1, kind="stable")[:, : self.n_targets(tokens.shape[1])]
        there = np.take_along_axis(hidden, order, axis=1)
        return Masked(
            np.where(hidden, shown, tokens),
            np.where(there, order, 0),
            np.where(there, np.take_along_axis(tokens, order, axis=1), IGNORED),
        )

    def _begins(self, tokens: Ints, text: Flags, keys: Keys, budget: Ints, continues: Flags | None) -> Flags:
        """(N, T): where units begin. None is longer than its row's budget."""
        if self.unit is MaskUnit.tokens:
            return text
        first = np.ones_like(text)  # of the text, or after a special token
        first[:, 1:] = ~text[:, :-1]
        begins = first.copy()
        if continues is None:
            begins[:, 1:] |= ~(self.marks.inner[tokens[:, 1:]] & self.marks.open[tokens[:, :-1]])
        else:
            begins |= ~continues
        places = np.broadcast_to(np.arange(text.shape[1]), text.shape)
        length = places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        words: Flags = text & (begins | (length % np.maximum(1, budget)[:, None] == 0))
        if self.unit is MaskUnit.words:
            return words
        spans: Flags = words & (first | (_uniform(keys, _SPAN, places) < 1 / _MEAN_SPAN))
        unit = np.cumsum(spans, axis=1) - 1
        too_long = np.take_along_axis(_sizes(unit, text), np.maximum(unit, 0), axis=1) > budget[:, None]
        spans[too_long] = words[too_long]
        return spans


def _sizes(unit: Ints, text: Flags) -> Ints:
    """(N, T): tokens of each unit of a row; 0 where there are fewer units."""
    n_rows, n_tokens = unit.shape
    numbered = np.arange(n_rows)[:, None] * n_tokens + unit
    return np.bincount(numbered[text], minlength=n_rows * n_tokens).reshape(unit.shape)


def _drawn(unit: Ints, text: Flags, keys: Keys, budget: Ints) -> Flags:
    """(N, T): which units are drawn, one after the other in a random order, each if the row's budget still holds it."""
    rows, sizes = np.arange(len(unit)), _sizes(unit, text)
    rank = _hash(keys, _ORDER, np.broadcast_to(np.arange(unit.shape[1]), unit.shape))
    order = np.argsort(np.where(sizes > 0, rank, np.iinfo(np.uint64).max), axis=1)
    left, drawn = budget.copy(), np.zeros(unit.shape, np.bool_)
    for number in order.T:
        size = sizes[rows, number]
        fits = (size > 0) & (size <= left)
        drawn[rows, number] = fits
        left -= size * fits
        if not (left.any() and size.any()):
            break
    return drawn


def _hash(keys: Keys, site: int, index: Ints) -> Keys:
    """64 random bits for each index (N, T) under its row's key (N,): SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        return _mix(_mix(keys + np.uint64(site + 1))[:, None] + index.astype(np.uint64))


def _mix(x: Keys) -> Keys:
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(keys: Keys, site: int, index: Ints) -> NDArray[np.float64]:
    """Numbers from 0 to 1."""
    return (_hash(keys, site, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53
