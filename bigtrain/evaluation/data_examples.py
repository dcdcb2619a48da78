"""What was dropped from a prepared set, and found in it, by example: sections of the data report."""

from __future__ import annotations

import difflib
import re
from collections import Counter
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
EDITS = {
    "repaired_lines": ("lines", "repaired: they were read in a wrong encoding once"),
    "control_characters": ("characters", "removed: control characters"),
    "invisible_characters": ("characters", "removed: invisible ones"),
    "normalised": ("documents", "in which characters got their one form (NFC)"),
    "white_space": ("characters", "removed: white space"),
    "citations": ("marks", "removed: citations such as [1]"),
    "notices": ("lines", "removed: notices and other boilerplate"),
    "page_headers": ("lines", "removed: running heads and page numbers"),
    "repeated_paragraphs": ("lines", "removed: long ones that came again"),
    "repeated_lines": ("lines", "removed: they came too often"),
    "unfinished_lines": ("lines", "removed: without a mark at their end"),
    "lines_with_long_words": ("lines", "removed: with a word that is too long"),
    "short_lines": ("lines", "removed: with too few words"),
}
MOST_SOURCES, MOST_LANGUAGES = 12, 20  # columns of a table; names after a reason
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
    parts = [table(["stage", "reason", "documents", "bytes", ""], rows), _by_source(every), _by_language(every)]
    for stage, reason, facts in every[:MOST_REASONS]:
        examples = [_document(one, cut(one.get("text", ""), MOST_TEXT)) for one in facts.get("examples") or []]
        if examples:
            count = f"{facts['documents']:,} document{'s' * (facts['documents'] > 1)}"
            head = f"{cut(reason, MOST_NAME)} <span>{text(stage)}, {count}</span>"
            parts.append(f'<p class="reason">{head}</p><div class="examples">{"".join(examples[:MOST_EXAMPLES])}</div>')
    return "".join(parts)


def edits(found: Table) -> str:
    """How much was repaired or taken out inside of documents."""
    rows = [[*EDITS.get(name, ("", name)), n] for name, n in sorted(found.items(), key=lambda item: -item[1])]
    note = '<p class="note">In documents that were dropped afterwards too.</p>'
    return note + table(["of", "what was done", "number"], rows) if rows else ""


def _by_source(every: Sequence[tuple[str, str, Table]]) -> str:
    """Dropped documents of each source, where there are several."""
    counts = Counter[str]()
    for _, _, facts in every:
        counts.update(facts.get("sources") or {})
    names = [name for name, _ in counts.most_common(MOST_SOURCES)]
    if len(names) < 2:
        return ""
    rows = [
        [stage, reason, *((facts.get("sources") or {}).get(name, 0) for name in names)]
        for stage, reason, facts in every
    ]
    return "<h3>Documents by source</h3>" + table(["stage", "reason", *names], rows)


def _by_language(every: Sequence[tuple[str, str, Table]]) -> str:
    """Dropped documents of each language, where it was known by then."""
    rows = []
    for stage, reason, facts in every:
        found = Counter(facts.get("languages") or {}).most_common(MOST_LANGUAGES)
        if found:
            rows.append([stage, reason, ", ".join(f"{name}: {n:,}" for name, n in found)])
    return "<h3>Documents by language</h3>" + table(["stage", "reason", "languages"], rows) if rows else ""


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
    """Where a document stands, what was measured in it, and (escaped already) what it says."""
    place = _place(one.get("file"), one.get("line"))
    if "language" in one:
        place += f", {cut(one['language'], MOST_NAME)}"
    if "score" in one and "limit" in one:
        place += f": {text(shown(one['score']))}, where the limit is {text(shown(one['limit']))}"
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
