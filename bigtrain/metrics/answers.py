"""Short answers to questions: exact match and overlap, by the official scripts of SQuAD and of CMRC 2018."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")

_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("([\u4e00-\u9fa5])")
# Words beside Chinese as NLTK's Treebank tokenizer cuts them, which the official script calls: at space and at
# punctuation, but not inside 1,000 or 3.5, and 's and its like are words of their own.
_WORD = re.compile(
    r"""'(?:s|m|d|re|ll|ve)\b"""
    r"""|(?:[^\s'".,;@#$%&?!()\[\]{}<>«»–—]|,(?=\d)|\.(?!\s*$)|'(?=\w)(?!(?:s|m|d|re|ll|ve)\b))+"""
    r"""|\S"""
)


def squad_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], language: Literal["en", "zh"] = "en"
) -> dict[str, float]:
    """`exact_match` and `f1`, means over questions of the best over a question's references, from 0 to 1.

    references: those of each question; none, or only empty ones, where it has no answer: an empty prediction is right.
    `en` is the official script of SQuAD 2.0: lower case, without punctuation, articles and superfluous space, F1 over
    words. `zh` is that of CMRC 2018: lower case, without its list of punctuation, F1 from the longest common run of
    characters (words, where they are not Chinese); to have no answer is our addition to it.
    """
    normalise, overlap = (_cmrc_normal, _run_f1) if language == "zh" else (_squad_normal, _word_f1)
    exact = f1 = 0.0
    for prediction, given in zip(predictions, references, strict=True):
        found = normalise(prediction)
        answers = [answer for answer in map(normalise, given) if answer] or [""]
        exact += found in answers
        f1 += max(overlap(found, answer) for answer in answers)
    return {"exact_match": exact / len(predictions), "f1": f1 / len(predictions)}


def exact_match(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Share of predictions that are one of their references, apart from space around them."""
    right = [text.strip() in map(str.strip, given) for text, given in zip(predictions, references, strict=True)]
    return sum(right) / len(right)


def _squad_normal(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _cmrc_normal(text: str) -> str:
    return text.lower().strip().translate(_CMRC_PUNCTUATION)


def _word_f1(prediction: str, answer: str) -> float:
    found, wanted = prediction.split(), answer.split()
    return _f1((Counter(found) & Counter(wanted)).total(), len(found), len(wanted))


def _run_f1(prediction: str, answer: str) -> float:
    """The script's `find_lcs` is the longest common run of neighbours, not a subsequence."""
    found, wanted = _segments(prediction), _segments(answer)
    longest, ending_before = 0, [0] * (len(wanted) + 1)
    for segment in found:
        ending_here = [0, *(ending_before[i] + 1 if segment == other else 0 for i, other in enumerate(wanted))]
        longest, ending_before = max(longest, *ending_here), ending_here
    return _f1(longest, len(found), len(wanted))


def _segments(text: str) -> list[str]:
    pieces = _HAN.split(text)  # every second one is a Chinese character
    return [segment for i, piece in enumerate(pieces) for segment in ([piece] if i % 2 else _WORD.findall(piece))]


def _f1(common: int, found: int, wanted: int) -> float:
    return 2 * common / (found + wanted) if found and wanted else float(found == wanted)
