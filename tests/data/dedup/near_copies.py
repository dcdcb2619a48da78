"""Edited copies of real text, whose Jaccard similarity to the original is known exactly."""

import random
import re
from functools import cache
from pathlib import Path

NGRAM = 5


def words(text: str) -> list[str]:
    """English without accents: what `word_hashes` makes of it."""
    return re.findall(r"[a-z0-9]+", text.lower())


def shingles(text: list[str]) -> set[tuple[str, ...]]:
    return {tuple(text[place : place + NGRAM]) for place in range(len(text) - NGRAM + 1)}


def jaccard(first: list[str], second: list[str]) -> float:
    some, others = shingles(first), shingles(second)
    return len(some & others) / len(some | others)


@cache
def passages(test_data: Path, n_words: int) -> list[list[str]]:
    """Stretches of novels, with none of their text in common."""
    novels = sorted((test_data / "eltec_novels").glob("ENG*.txt"))
    every = [word for novel in novels for word in words(novel.read_text(encoding="ascii", errors="ignore"))]
    return [every[place : place + n_words] for place in range(0, len(every) - n_words + 1, n_words)]


def edited(original: list[str], target: float, draw: random.Random) -> list[str]:
    """A copy in which words are replaced, then some at its end left out: similar by `target` or hardly more."""
    copy, vocabulary = list(original), sorted(set(original))
    while True:
        place, before = draw.randrange(len(copy)), list(copy)
        copy[place] = draw.choice(vocabulary)
        if jaccard(original, copy) < target:
            break
    copy = before
    while jaccard(original, copy[:-1]) >= target:
        copy.pop()
    return copy
