"""Spans of words that tags mark, such as named entities: right where type and both borders are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bigtrain.errors import UserError

Span = tuple[str, int, int]  # type, first word, the word after the last


def spans_of(tags: Sequence[str]) -> set[Span]:
    """The spans of one sentence's tags: (type, start, stop), of which stop is not part.

    Tags are `O`, or B-, I-, E- or S- and a type: IOB1, IOB2 and BIOES alike. A tag goes on with a span if it is I- or
    E-, the one before it B- or I-, and both have one type; any other begins one. That is how the CoNLL-2000 script
    conlleval reads also sequences that no scheme allows. M- is I-, as BMES has it. Raises UserError for another tag.
    """
    found, start, before = set(), 0, ("O", "")
    for number, tag in enumerate([*tags, "O"]):
        prefix, kind = _parts(tag)
        goes_on = prefix in "IE" and before[0] in "BI" and kind == before[1]
        if not goes_on:
            if before[0] != "O":
                found.add((before[1], start, number))
            start = number
        before = (prefix, kind)
    return found


def span_scores(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> dict[str, float]:
    """`span_precision`, `span_recall` and `span_f1` over all spans (micro).

    Both: the tags of each sentence, as long on both sides. A quotient without a denominator is 0. As conlleval.
    """
    counts = _counts(predicted, gold)
    right, found, truth = (sum(numbers[place] for numbers in counts.values()) for place in range(3))
    return {f"span_{name}": value for name, value in _scores(right, found, truth).items()}


def spans_per_type(
    predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]
) -> dict[str, dict[str, float | int]]:
    """`precision`, `recall`, `f1` and `support` (spans whose truth it is) of each type, sorted by name."""
    counts = _counts(predicted, gold)
    return {kind: {**_scores(*numbers), "support": numbers[2]} for kind, numbers in counts.items()}


def _parts(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    if prefix not in ("B", "I", "M", "E", "S") and tag != "O":
        raise UserError(
            f"the tag {tag}", "a span's tag is O, or B-, I-, E- or S- (M- for I-) and a type", "rename the tags"
        )
    return "I" if prefix == "M" else prefix, kind


def _counts(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Of each type, sorted: spans on both sides, predicted, true."""
    found, truth = (
        {(number, *span) for number, tags in enumerate(sentences) for span in spans_of(tags)}
        for sentences in (predicted, gold)
    )
    kinds = [Counter(span[1] for span in spans) for spans in (found & truth, found, truth)]
    return {kind: [counter[kind] for counter in kinds] for kind in sorted(kinds[1] | kinds[2])}


def _scores(right: int, predicted: int, truth: int) -> dict[str, float]:
    return {
        "precision": right / predicted if predicted else 0.0,
        "recall": right / truth if truth else 0.0,
        "f1": 2 * right / (predicted + truth) if predicted + truth else 0.0,
    }
