"""Unigram pieces learned from counted words: Kudo 2018 (arXiv 1804.10959), in the steps of SentencePiece's trainer.

Frequent substrings to begin with; then, in turns, their probabilities by expectation-maximization, and away with those
the text would miss least, until as many are left as were asked for. The trainer of `tokenizers` sums in another order
each time it runs; here the same words give the same pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigtrain.tokenizer.lattice import LONGEST_WORD, Edges, Lattice

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LONGEST_PIECE = 16  # characters
_SEEDS_PER_PIECE = 10
_SHRINK = 0.75  # of the pieces are kept in a turn: SentencePiece's shrinking_factor
_SPARE = 1.1  # times the pieces asked for are left before the last choice, by probability alone
_RARE = 0.5  # expected occurrences below which a piece is dropped


def learn(symbols: Ints, weights: Ints, n_characters: int, n_pieces: int) -> tuple[list[Ints], Floats]:
    """At most n_pieces pieces, each as the symbols it is made of, and their log probabilities, likeliest first.

    symbols, weights: (n,) the words one after the other, with -1 before, between and after them, and how often each
    word occurs. Every symbol below n_characters becomes a piece, also beyond n_pieces.
    """
    if not n_characters:
        return [], np.zeros(0)
    symbols, weights = _cut_long_words(symbols, weights)
    levels = _frequent_substrings(symbols, weights, n_characters)
    n_seeds = max(_SEEDS_PER_PIECE * n_pieces - n_characters, 0)
    pieces, counts = _seeds(levels, symbols, n_characters, n_seeds)
    pieces = [*np.arange(n_characters)[:, None], *pieces]
    counts = np.concatenate((np.bincount(symbols + 1, weights, n_characters + 1)[1:], counts))
    single = np.arange(len(pieces)) < n_characters
    alive = np.ones(len(pieces), np.bool_)
    scores = _log_probabilities(counts, alive)
    text = Lattice.of(symbols, weights, _edges(symbols, levels, n_characters))
    within = _one_after_the_other(pieces)
    own = Lattice.of(within, np.ones_like(within), _edges(within, levels, n_characters))
    wanted = max(int(_SPARE * n_pieces), n_characters)
    while True:
        for _ in range(2):
            counts = text.expected(scores)
            alive &= single | (counts >= _RARE)
            scores = _log_probabilities(counts, alive)
            text = text.kept(alive)
        if (n_alive := int(alive.sum())) <= wanted:
            break
        own = own.kept(alive)
        alive = single | _most_missed(
            text, own, scores, alive & ~single, max(wanted, int(_SHRINK * n_alive)) - n_characters
        )
        text = text.kept(alive)
    by_score = np.argsort(-scores, kind="stable")
    multiple = [n for n in by_score if alive[n] and not single[n]][: max(n_pieces - n_characters, 0)]
    chosen = sorted([*range(n_characters), *multiple], key=lambda n: (-scores[n], n))
    return [pieces[n] for n in chosen], scores[chosen]


@dataclass
class _Level:
    """The frequent substrings of one length, each numbered by its place in the arrays."""

    keys: Ints  # ascending: the number of all but the last symbol in the level before, and that symbol
    counts: Ints
    places: Ints  # where one of each stands
    pieces: Ints  # number as a piece; -1 for those that are none


def _cut_long_words(symbols: Ints, weights: Ints) -> tuple[Ints, Ints]:
    places = np.arange(len(symbols))
    word = np.maximum.accumulate(np.where(symbols < 0, places, 0)) + 1
    cut = np.flatnonzero((symbols >= 0) & (places > word) & ((places - word) % LONGEST_WORD == 0))
    return np.insert(symbols, cut, -1), np.insert(weights, cut, 0)


def _frequent_substrings(symbols: Ints, weights: Ints, n_characters: int) -> list[_Level]:
    """All that occur twice, of 2, 3, ... symbols within a word."""
    levels = []
    places = np.flatnonzero(symbols >= 0)
    numbers = symbols[places]
    for length in range(2, LONGEST_PIECE + 1):
        last = symbols[places + length - 1]
        inside = last >= 0
        places = places[inside]
        keys = numbers[inside] * n_characters + last[inside]
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        if not len(keys):
            break
        first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        counts = np.add.reduceat(weights[places], first)
        frequent = counts >= 2
        if not frequent.any():
            break
        sizes = np.diff(first, append=len(keys))
        numbers = np.repeat(np.where(frequent, np.cumsum(frequent) - 1, -1), sizes)
        kept = first[frequent]
        levels.append(_Level(keys[kept], counts[frequent], places[kept], np.full(len(kept), -1)))
        places, numbers = places[numbers >= 0], numbers[numbers >= 0]
    return levels


def _seeds(levels: list[_Level], symbols: Ints, n_characters: int, most: int) -> tuple[list[Ints], Floats]:
    """The substrings with the highest count times length, and their counts. Numbers them in the levels, after the
    characters. One that is always followed by the same symbol is none: the longer one stands for it."""
    length = np.concatenate([np.zeros(0, np.int64), *(np.full(len(lv.keys), n) for n, lv in enumerate(levels, 2))])
    counts = np.concatenate([np.zeros(0, np.int64), *(level.counts for level in levels)])
    place = np.concatenate([np.zeros(0, np.int64), *(level.places for level in levels)])
    followed = [np.zeros(len(level.keys), np.int64) for level in levels]
    for shorter, level in zip(followed, levels[1:], strict=False):
        np.maximum.at(shorter, level.keys // n_characters, level.counts)
    branching = counts > np.concatenate([np.zeros(0, np.int64), *followed])
    score = np.where(branching, counts * length, 0)
    chosen = np.argsort(-score, kind="stable")[:most]
    chosen = chosen[score[chosen] > 0]
    numbers = np.full(len(counts), -1)
    numbers[chosen] = n_characters + np.arange(len(chosen))
    for level, own in zip(levels, np.split(numbers, np.cumsum([len(level.keys) for level in levels])), strict=False):
        level.pieces = own
    pieces = [symbols[a : a + n] for a, n in zip(place[chosen].tolist(), length[chosen].tolist(), strict=True)]
    return pieces, counts[chosen].astype(np.float64)


def _edges(symbols: Ints, levels: list[_Level], n_characters: int) -> Edges:
    """Every piece at every place: where it begins, where it ends, its number."""
    places = np.flatnonzero(symbols >= 0)
    numbers = symbols[places]
    found = [(places, places + 1, numbers)]
    for length, level in enumerate(levels, 2):
        last = symbols[places + length - 1]
        inside = last >= 0
        places = places[inside]
        keys = numbers[inside] * n_characters + last[inside]
        numbers = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
        known = level.keys[numbers] == keys
        places, numbers = places[known], numbers[known]
        pieces = level.pieces[numbers]
        is_piece = pieces >= 0
        found.append((places[is_piece], places[is_piece] + length, pieces[is_piece]))
    start, end, piece = (np.concatenate(arrays, dtype=np.int32) for arrays in zip(*found, strict=True))
    return start, end, piece


def _one_after_the_other(pieces: list[Ints]) -> Ints:
    edge = np.array([-1])
    return np.concatenate([edge, *(part for piece in pieces for part in (piece, edge))])


def _log_probabilities(counts: Floats, alive: NDArray[np.bool_]) -> Floats:
    """The M step, with the digamma function as SentencePiece has it (a sparse prior). -inf for the dead."""
    counts = np.where(alive, np.maximum(counts, _RARE), 0.0)
    return np.where(alive, _digamma(np.where(alive, counts, 1.0)) - _digamma(counts.sum(keepdims=True)), -np.inf)


def _digamma(x: Floats) -> Floats:
    """The derivative of log gamma, to 1e-9: by recurrence up to 7, from there on by its asymptotic series."""
    result = np.zeros_like(x)
    for _ in range(7):
        small = x < 7
        result = np.where(small, result - 1 / x, result)
        x = np.where(small, x + 1, x)
    square = 1 / (x * x)
    return result + np.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))


def _most_missed(
    text: Lattice, own: Lattice, scores: Floats, candidates: NDArray[np.bool_], n_kept: int
) -> NDArray[np.bool_]:
    """The n_kept candidates whose occurrences would lose most likelihood if they were put together otherwise.

    own: the lattice whose n-th word is the n-th piece.
    """
    n = len(scores)
    occurrences = np.zeros(n)
    for word, piece in text.best_paths(scores):
        occurrences += np.bincount(piece, text.weights[word], n)
    total = occurrences.sum()
    parts, instead = np.zeros(n), np.zeros(n)
    used = candidates & (occurrences > 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # of pieces that are not used
        for word, piece in own.best_paths(scores, whole=False):  # a step gives one piece of each word
            parts[word] += 1
            instead[word] += np.log(occurrences[piece] + occurrences[word])
        instead -= parts * np.log(total + occurrences * (parts - 1))
        loss = np.where(used, occurrences * (np.log(occurrences) - np.log(total) - instead), -np.inf)
    kept = np.zeros(n, np.bool_)
    kept[np.argsort(-loss, kind="stable")[:n_kept]] = True
    return kept & used
