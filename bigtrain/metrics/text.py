"""Generated text against references: n-grams and common subsequences. docs/metrics.md says when which is of use."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Literal
from unicodedata import category

from bigtrain.errors import UserError

# Scripts without spaces, each character of which is a word: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def mostly_chinese(texts: Iterable[str]) -> bool:
    """Whether most characters of the texts are Chinese, blanks left out."""
    text = "".join(texts)
    n_chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return 2 * n_chinese > sum(not character.isspace() for character in text)


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """F-measure of the longest common subsequence of words, from 0 to 1: the mean over rows of the best reference's.

    On ASCII text that is `rougeL` of Google's package rouge_score, without its stemmer: lower case, words of letters
    and digits, precision and recall weighing the same. Here other alphabets have words too, and each character of a
    script without spaces is one.
    """
    best = [
        max((_subsequence_f1(_words(text), _words(reference)) for reference in given), default=0.0)
        for text, given in zip(predictions, references, strict=True)
    ]
    return sum(best) / len(best)


def bleu(
    predictions: Sequence[str], references: Sequence[Sequence[str]], language: Literal["en", "zh"] = "en"
) -> float:
    """Corpus BLEU as sacrebleu reports it, from 0 to 100: tokens of `13a`, or of `zh` for Chinese, smoothing `exp`.

    references: one or more for each prediction. Raises UserError without the extra `metrics`.
    """
    tokens = "zh" if language == "zh" else "13a"
    return float(_sacrebleu().corpus_bleu(predictions, _streams(references), tokenize=tokens).score)


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF2 as sacrebleu reports it, from 0 to 100. Raises UserError without the extra `metrics`."""
    return float(_sacrebleu().corpus_chrf(predictions, _streams(references)).score)


def require_sacrebleu() -> None:
    """Raises UserError without the extra `metrics`: to be known before there is anything to measure."""
    _sacrebleu()


def _words(text: str) -> list[str]:
    kept = (one if one.isalnum() or category(one).startswith("M") else " " for one in text.lower())
    return _UNSPACED.sub(r" \g<0> ", "".join(kept)).split()


def _subsequence_f1(found: list[str], wanted: list[str]) -> float:
    return 2 * _longest_common(found, wanted) / (len(found) + len(wanted)) if found and wanted else 0.0


def _longest_common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, a whole row of the table in one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(a)) - 1
    row = every  # a zero where the table grows
    for word in b:
        kept = row & places.get(word, 0)
        row = (row + kept | row - kept) & every
    return len(a) - row.bit_count()


def _streams(references: Sequence[Sequence[str]]) -> list[Sequence[str | None]]:
    """First references, second references, ...: sacrebleu takes None where a row has no more."""
    return list(itertools.zip_longest(*references))


def _sacrebleu() -> ModuleType:
    try:
        import sacrebleu
    except ImportError as error:
        raise UserError(
            "BLEU and chrF", "they need the package sacrebleu", "pip install 'bigtrain[metrics]'"
        ) from error
    return sacrebleu
