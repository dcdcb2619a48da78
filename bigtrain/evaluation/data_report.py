"""report.html of a prepared set: what became of every document, with examples to judge the decisions by.

One file that opens offline and prints on A4, made from manifest.json and statistics.json alone: the same set gives the
same bytes. Figures that are not there are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigtrain.data.pipeline.statistics import STATISTICS
from bigtrain.data.shards import MANIFEST
from bigtrain.evaluation.bars import Stage, histogram, share_bar, waterfall
from bigtrain.evaluation.data_examples import (
    MOST_NAME,
    Table,
    chips,
    contamination,
    duplicates,
    edits,
    errors,
    personal,
    reasons,
    stage_name,
)
from bigtrain.evaluation.page import Html, Number, cut, figures, section, shown, table, text, tiles, write_page
from bigtrain.evaluation.style import CSS, DATA_CSS
from bigtrain.units import si

REPORT = "report.html"
PARTS = ("train", "validation", "test")
_AGAIN = {"weight": 1.0, "documents_again": 0, "bytes_again": 0}  # of a source whose documents are there once
MOST_SCORES, MOST_CHIPS, MOST_SETTINGS = 24, 100, 20_000  # the last in characters


def write(folder: Path) -> None:
    """Write report.html into the folder of a prepared set, from its manifest.json and statistics.json."""
    manifest, statistics = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (MANIFEST, STATISTICS))
    splits, stages = manifest.get("splits") or {}, statistics.get("stages") or []
    body = [
        "<h1>Data report</h1>",
        f'<p class="subtitle">{text(_subtitle(manifest))}</p>',
        f'<p class="lead">{_lead(splits, stages)}</p>',
        tiles(_headlines(splits, stages, statistics)),
        section("What each stage took away", _stages(stages)),
        section("What was changed inside documents", edits(statistics.get("edits") or {})),
        section("Tokens", _parts(splits)),
        section("Sources", _sources(statistics.get("sources") or {})),
        section("Languages", _languages(statistics.get("languages") or {})),
        section("Length and quality of the documents", _distributions(statistics)),
        section("Why documents were dropped", reasons(stages)),
        section("Duplicates", duplicates(statistics.get("duplicates") or {})),
        section("Personal data and secrets", personal(statistics.get("personal") or {})),
        section("Overlap with evaluation sets", contamination(statistics.get("contamination") or [])),
        section("Tokenizer", _figures(statistics.get("tokenizer") or {})),
        section("Errors", errors(statistics.get("errors") or {})),
        section("Settings", _settings(manifest.get("settings") or {})),
    ]
    write_page(folder / REPORT, "Data report", CSS + DATA_CSS, body)


def _subtitle(manifest: Table) -> str:
    tokenizer, fingerprint = manifest.get("tokenizer") or {}, str(manifest.get("fingerprint", ""))
    parts = [
        f"bigtrain {manifest['bigtrain']}" if manifest.get("bigtrain") else "",
        f"tokenizer of {shown(tokenizer['vocab_size'])} entries" if "vocab_size" in tokenizer else "",
        f"fingerprint {fingerprint[:16]}" if fingerprint else "",
    ]
    return " · ".join(part for part in parts if part)


def _total(splits: Table, name: str) -> int:
    return sum(part[name] for part in splits.values())


def _kept(splits: Table, stages: Sequence[Table], unit: str) -> int:
    """Documents, or bytes of them, that are in the set once or more."""
    return int(stages[-1][f"{unit}_out"]) if stages else _total(splits, unit)


def _lead(splits: Table, stages: Sequence[Table]) -> str:
    """The outcome in a sentence."""
    documents, tokens = _total(splits, "documents"), _total(splits, "tokens")
    n_kept, n_bytes = _kept(splits, stages, "documents"), _kept(splits, stages, "bytes")
    kept, size = f"<b>{n_kept:,}</b> documents", _bytes(n_bytes)
    if stages:
        first = stages[0]
        size += f", {n_bytes / first['bytes_in']:.1%} of the text" if first["bytes_in"] else ""
        kept = f"Of {first['documents_in']:,} documents ({_bytes(first['bytes_in'])}), {kept}"
    parts = [f"{si(part['tokens'])} {text(name)}" for name, part in splits.items() if part["tokens"]]
    again = f" (with copies and pieces of them {documents:,})" if documents != n_kept else ""
    into = f", which are <b>{si(tokens)}</b> tokens{again}: {', '.join(parts)}" if parts else ""
    return f"{kept} ({size}) were kept{into}."


def _headlines(splits: Table, stages: Sequence[Table], statistics: Table) -> list[tuple[str, str]]:
    double, found = statistics.get("duplicates") or {}, statistics.get("personal") or {}
    tokens, n_errors = _total(splits, "tokens"), (statistics.get("errors") or {}).get("count", 0)
    values = [
        (si(stages[0]["documents_in"]), "documents read") if stages else None,
        (si(_kept(splits, stages, "documents")), "documents kept"),
        (si(tokens), "tokens"),
        (f"{_total(splits, 'bytes') / tokens:.2f}", "bytes per token") if tokens else None,
        (si(double.get("exact", 0) + double.get("near", 0)), "duplicates dropped") if double else None,
        (si(sum(kind["count"] for kind in found.values())), "personal data found") if found else None,
        (si(len(statistics["languages"])), "languages") if statistics.get("languages") else None,
        (si(n_errors), "errors") if n_errors else None,
    ]
    return [value for value in values if value]


def _stages(stages: Sequence[Table]) -> str:
    """Two waterfalls, of documents and of text, and their numbers."""
    if not stages:
        return ""
    names = [stage_name(one) for one in stages]
    rows: list[list[Any]] = [[name] for name in names]
    charts = []
    for unit, title in (("documents", "Documents"), ("bytes", "Text, in bytes")):
        counts = [(one[f"{unit}_in"], one[f"{unit}_out"]) for one in stages]
        steps = [Stage(name, *each) for name, each in zip(names, counts, strict=True)]
        charts.append((title, waterfall(f"waterfall-{unit}", title, steps), True))
        for row, (before, after) in zip(rows, counts, strict=True):
            row += [before, before - after, after]
    key = '<p class="keys"><span class="key c0"></span>left<span class="key taken"></span>taken away</p>'
    columns = ["stage", "documents in", "taken away", "left", "bytes in", "taken away", "left"]
    return key + figures(charts) + table(columns, rows)


def _parts(splits: Table) -> str:
    most = max((part["tokens"] for part in splits.values()), default=0)
    rows = [
        [
            name,
            part["documents"],
            part["bytes"],
            part["tokens"],
            _ratio(part["bytes"], part["tokens"], "{:.3g}"),
            Html(share_bar([part["tokens"]], most)),
        ]
        for name, part in splits.items()
    ]
    return table(["part", "documents", "bytes", "tokens", "bytes per token", ""], rows)


def _sources(sources: Table) -> str:
    """What each source gave, how many tokens it became in each part, and how its files were encoded."""
    kept, tokens, encodings = [], [], []
    weighted = any(one.get(key, nothing) != nothing for one in sources.values() for key, nothing in _AGAIN.items())
    parts = {name: [(one.get("tokens") or {}).get(part, 0) for part in PARTS] for name, one in sources.items()}
    most = max((sum(counts) for counts in parts.values()), default=0)
    for name, one in sources.items():
        share = _ratio(one.get("bytes_kept", 0), one.get("bytes", 0), "{:.1%}")
        counts = [one.get(key) for key in ("files", "documents", "documents_kept", "bytes", "bytes_kept")]
        again = [one.get(key, nothing) for key, nothing in _AGAIN.items()] if weighted else []
        kept.append([name, *counts, share, *again])
        tokens.append([name, *parts[name], sum(parts[name]), Html(share_bar(parts[name], most))])
        if one.get("encodings") or one.get("replacements"):
            used = ", ".join(f"{encoding}: {shown(n)}" for encoding, n in (one.get("encodings") or {}).items())
            encodings.append([name, used, one.get("replacements")])
    key = "".join(f'<span class="key c{number}"></span>{part}' for number, part in enumerate(PARTS))
    titles = ["source", "files", "documents", "kept", "bytes", "kept", "share kept"]
    note = (
        "By weight, or cut by the split, documents are there again: these are the copies and pieces beyond the first."
    )
    return "".join(
        [
            f'<p class="note">{note}</p>' if weighted else "",
            table([*titles, "weight", "documents again", "bytes again"] if weighted else titles, kept),
            f'<h3>Tokens</h3><p class="keys">{key}</p>' if most else "",
            table(["source", *PARTS, "all", ""], tokens) if most else "",
            "<h3>Encodings</h3>" if encodings else "",
            table(["source", "documents by encoding", "characters replaced"], encodings),
        ]
    )


def _languages(languages: Table) -> str:
    ordered = sorted(languages.items(), key=lambda item: (-item[1]["documents"], item[0]))
    counts = [one["documents"] for one in languages.values()]
    rows = [
        [
            name,
            one["documents"],
            _ratio(one["documents"], sum(counts), "{:.1%}"),
            one["bytes"],
            Html(share_bar([one["documents"]], max(counts))),
        ]
        for name, one in ordered
    ]
    return table(["language", "documents", "share", "bytes", ""], rows)


def _distributions(statistics: Table) -> str:
    """Histograms of documents by length, and by each score of the quality rules."""
    lengths, quality = statistics.get("lengths"), statistics.get("quality") or {}
    given = [("length in characters", lengths)] if lengths else []
    given += [(_words(score), one) for score, one in quality.items()][:MOST_SCORES]
    spread = [(title, one) for title, one in given if sum(map(bool, one["documents"])) > 1]
    charts = [
        (title.capitalize(), histogram(f"histogram-{number}", title, one["edges"], one["documents"]), False)
        for number, (title, one) in enumerate(spread)
    ]
    alike = [[title, *_only_bin(one)] for title, one in given if sum(map(bool, one["documents"])) == 1]
    note = "Length is that of the documents that are kept; a score is that of each document that came to its rule."
    parts = [figures(charts), table(["all alike", "from", "to", "documents"], alike)]
    return f'<p class="note">{note}</p>{"".join(parts)}' if any(parts) else ""


def _only_bin(one: Table) -> tuple[float, float, int]:
    """The edges of the one bin that holds documents, and how many."""
    number = next(number for number, count in enumerate(one["documents"]) if count)
    low, high = one["edges"][number : number + 2]
    return low, high, one["documents"][number]


def _settings(settings: Table) -> str:
    """The keys that are set, as they are typed."""
    written = "\n".join(_keys(settings))
    note = '<p class="note">What is off or empty is left out; manifest.json has all.</p>'
    return f"{note}<pre>{cut(written, MOST_SETTINGS)}</pre>" if written else ""


def _keys(value: Any, key: str = "") -> list[str]:
    if isinstance(value, Mapping):
        return [line for name, one in value.items() for line in _keys(one, f"{key}.{name}" if key else str(name))]
    return [] if value is None or value is False or value == [] else [f"{key}: {json.dumps(value, ensure_ascii=False)}"]


def _figures(values: Table) -> str:
    """Figures of any shape: what is one value first, then a table or a list for each of the others."""
    single = [[_words(name), _rounded(one)] for name, one in values.items() if not isinstance(one, Mapping | list)]
    note = "Taken on some hundred documents, the held-out ones first. Fertility: tokens for each word."
    parts = [f'<p class="note">{note}</p>' if "fertility" in values else "", table(["figure", "value"], single)]
    for name, one in values.items():
        content = _rows(one) if isinstance(one, Mapping | list) else ""
        parts.append(f"<h3>{cut(_words(name).capitalize(), MOST_NAME)}</h3>{content}" if content else "")
    return "".join(parts)


def _rows(value: Any) -> str:
    """A mapping, or a list of mappings, as a table; a list of other values as it is."""
    named = isinstance(value, Mapping)
    rows = list(value.items()) if named else [("", one) for one in value]
    if not any(isinstance(one, Mapping) for _, one in rows):
        return (
            table(["", "value"], [[name, _rounded(one)] for name, one in rows]) if named else chips(value[:MOST_CHIPS])
        )
    keys = list(dict.fromkeys(key for _, one in rows if isinstance(one, Mapping) for key in one))
    cells = [
        [name, *(_rounded(one.get(key)) if isinstance(one, Mapping) else None for key in keys)] for name, one in rows
    ]
    titles = ["", *map(_words, keys)]
    return table(titles, cells) if named else table(titles[1:], [row[1:] for row in cells])


def _rounded(value: Any) -> Any:
    return Number(f"{value:.4g}") if isinstance(value, float) else value


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _ratio(part: float, whole: float, form: str) -> Number | None:
    return Number(form.format(part / whole)) if whole else None


def _bytes(number: int) -> str:
    amount = si(number)
    return f"{amount[:-1]} {amount[-1]}B" if number >= 1000 else f"{number} bytes"
