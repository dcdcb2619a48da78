"""What was dropped from a prepared set, and found in it, by example: sections of the data report."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigtrain.evaluation.bars import share_bar
from bigtrain.evaluation.page import Html, cut, shown, table, text

Table = Mapping[str, Any]  # a part of statistics.json

STAGES = {
    "read": "reading",
    "clean": "cleaning",
    "decontaminate": "decontamination",
    "pii": "personal data",
    "exact": "exact duplicates",
    "paragraphs": "repeated paragraphs",
    "near": "near duplicates",
    "split": "splitting",
}
DUPLICATES = {
    "exact": "documents, equal to one that is kept",
    "near": "documents, much like one that is kept",
    "paragraphs": "paragraphs that stand in another document too",
}
MOST_REASONS, MOST_EXAMPLES, MOST_OVERLAPS, MOST_ERRORS, MOST_SAMPLES = 40, 3, 40, 40, 8
MOST_PAIRS, MOST_EQUAL = 12, 3
MOST_TEXT, MOST_NAME, MOST_CHIP = 400, 200, 80  # characters
# Words, single characters of Chinese and Japanese, runs of white space, single marks: together all of a text.
_WORDS = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff]+|\s+|.", re.DOTALL)


def stage_name(stage: Table) -> str:
    """What a stage of the pipeline is called in a report."""
    name = str(stage["name"])
    return STAGES.get(name, name)


def reasons(stages: Sequence[Table]) -> str:
    """Why documents were dropped, the most frequent reason first, each with documents that it was true of."""
    every = [(stage_name(one), *item) for one in stages for item in (one.get("reasons") or {}).items()]
    every = [found for found in every if found[2]["documents"]]
    every.sort(key=lambda found: -found[2]["documents"])
    most = max((facts["documents"] for _, _, facts in every), default=0)
    rows = [
        [stage, reason, facts["documents"], facts["bytes"], Html(share_bar([0, facts["documents"]], most))]
        for stage, reason, facts in every
    ]
    parts = [table(["stage", "reason", "documents", "bytes", ""], rows)]
    for stage, reason, facts in every[:MOST_REASONS]:
        examples = [_document(one, cut(one.get("text", ""), MOST_TEXT)) for one in facts.get("examples") or []]
        if examples:
            count = f"{facts['documents']:,} document{'s' * (facts['documents'] > 1)}"
            head = f"{cut(reason, MOST_NAME)} <span>{text(stage)}, {count}</span>"
            parts.append(f'<p class="reason">{head}</p><div class="examples">{"".join(examples[:MOST_EXAMPLES])}</div>')
    return "".join(parts)


def duplicates(found: Table) -> str:
    """How much was dropped as double, and pairs of documents side by side."""
    rows = [[words, found[name]] for name, words in DUPLICATES.items() if found.get(name)]
    if not rows:
        return ""
    parts = [table(["dropped", "number"], rows)]
    pairs = found.get("examples") or []
    equal = [pair for pair in pairs if pair.get("kind") == "exact"]  # one looks like the other: a few will do
    pairs = [*(pair for pair in pairs if pair not in equal), *equal[:MOST_EQUAL]][:MOST_PAIRS]
    if pairs:
        parts.append('<p class="note">Kept on the left, dropped on the right; what differs is underlined.</p>')
    for pair in pairs:
        kept, dropped = _differences(pair["kept"].get("text", ""), pair["dropped"].get("text", ""))
        label = f"dropped, similarity {shown(pair['similarity'])}" if pair.get("similarity", 1) < 1 else "dropped"
        both = _document(pair["kept"], kept, "kept") + _document(pair["dropped"], dropped, label)
        parts.append(f'<div class="pair">{both}</div>')
    return "".join(parts)


def personal(found: Table) -> str:
    """Kinds of personal data and secrets, the most frequent first, with masked samples."""
    ordered = sorted(found.items(), key=lambda item: (-item[1]["count"], item[0]))
    rows = [
        [kind.replace("_", " "), one["count"], Html(chips((one.get("samples") or [])[:MOST_SAMPLES]))]
        for kind, one in ordered
    ]
    note = '<p class="note">Samples are masked: no value as it was found is in this file.</p>'
    return note + table(["kind", "found", "samples"], rows) if rows else ""


def contamination(overlaps: Sequence[Table]) -> str:
    """Documents that share text with an evaluation set, and the text."""
    found = []
    for one in overlaps[:MOST_OVERLAPS]:
        both = f"{_place(one.get('file'), one.get('line'))} <b>and</b> "
        both += _place(one.get("evaluation_file"), one.get("evaluation_line"))
        found.append(_example(both, cut(one.get("text", ""), MOST_TEXT)))
    more = len(overlaps) - MOST_OVERLAPS
    note = f'<p class="note">… and {more:,} more in statistics.json</p>' if more > 0 else ""
    return f'<div class="examples">{"".join(found)}</div>{note}' if found else ""


def errors(found: Table) -> str:
    """What could not be read and was skipped."""
    if not found.get("count"):
        return ""
    examples = (found.get("examples") or [])[:MOST_ERRORS]
    lines = [cut(one if isinstance(one, str) else _error(one), MOST_TEXT) for one in examples]
    said = f"<p>{found['count']:,} rows or files could not be read and were skipped.</p>"
    return said + (f"<pre>{chr(10).join(lines)}</pre>" if lines else "")


def chips(values: Iterable[object]) -> str:
    """Short texts, each in a box of its own, white space kept."""
    boxes = "".join(f'<span class="chip">{cut(shown(value), MOST_CHIP)}</span>' for value in values)
    return f'<div class="chips">{boxes}</div>' if boxes else ""


def _document(one: Table, content: str, label: str = "") -> str:
    """Where a document stands, and (escaped already) what it says."""
    place = _place(one.get("file"), one.get("line"))
    return _example(f"<b>{label}</b> {place}" if label else place, content)


def _example(where: str, content: str) -> str:
    return f'<div class="example"><p class="where">{where}</p><pre>{content}</pre></div>'


def _place(file: object, line: object) -> str:
    name = cut("" if file is None else file, MOST_NAME)
    return name if line is None else f"{name}, line {text(shown(line))}"


def _error(one: Table) -> str:
    place = (
        [f"{one['file']}, line {one['line']}" if one.get("line") is not None else one["file"]] if "file" in one else []
    )
    return ": ".join([*place, *(shown(value) for key, value in one.items() if key not in ("file", "line"))])


def _differences(one: object, other: object) -> tuple[str, str]:
    """Two texts, escaped, with the words marked that only one of them has."""
    left, right = (_WORDS.findall(str(given)[:MOST_TEXT]) for given in (one, other))
    marked: tuple[list[str], list[str]] = [], []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for words, side in ((left[a:b], marked[0]), (right[c:d], marked[1])):
            piece = text("".join(words))
            side.append(f"<mark>{piece}</mark>" if kind != "equal" and piece.strip() else piece)
    return "".join(marked[0]), "".join(marked[1])
