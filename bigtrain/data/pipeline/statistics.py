"""statistics.json of a set: what each stage did to how many documents, with examples; what the data report shows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bigtrain.data.cleaning.scores import EDGES
from bigtrain.data.pipeline.facts import LENGTHS, STAGES, Facts, add_up, edges_and_counts, load
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.split import PARTS

STATISTICS = "statistics.json"
DUPLICATES = "duplicates.json"  # counts and examples of that stage
_COUNTS = ("documents_in", "documents_out", "bytes_in", "bytes_out")
_NO_HISTOGRAM: dict[str, list[float]] = {"edges": [], "documents": []}


def statistics(
    plan: Plan, documents: list[Path], tokens: list[Path], duplicates: Path, tokenizer: dict[str, Any]
) -> Facts:
    """Add up what the parts have left. It holds no time and no path, and no personal data but masked.

    tokenizer: its figures.
    """
    total: Facts = {}
    for folder in (*documents, *tokens):
        add_up(total, load(folder))
    found = json.loads((duplicates / DUPLICATES).read_bytes()) if plan.steps.dedup else {}
    sources = {source.name: source for source in plan.sources}
    n_files = Counter(source.name for source in plan.sources)
    return {
        "stages": [_stage(name, total["stages"]) for name in STAGES if name in total["stages"]],
        "sources": {
            name: {"files": n_files[name], "weight": source.settings.weight}
            | _source(total.get("sources", {}).get(name, {}))
            for name, source in sources.items()
        },
        "languages": _sorted(total.get("languages", {})),
        "lengths": edges_and_counts(total["lengths"], LENGTHS) if "lengths" in total else _NO_HISTOGRAM,
        "quality": {
            name: edges_and_counts(bins, EDGES[name]) for name, bins in _sorted(total.get("quality", {})).items()
        },
        "edits": _sorted(total.get("edits", {})),
        "personal": _sorted(total.get("personal", {})),
        "duplicates": {"exact": 0, "near": 0, "paragraphs": 0, "examples": []} | found,
        "contamination": total.get("contamination", []),
        "tokenizer": tokenizer,
        "errors": {"count": 0, "examples": []} | total.get("errors", {}),
    }


def counts_by_stage(figures: Facts) -> list[dict[str, Any]]:
    """The stages without examples, for the manifest."""
    return [
        {
            **{key: value for key, value in stage.items() if key != "reasons"},
            "reasons": {
                reason: {key: value for key, value in entry.items() if key != "examples"}
                for reason, entry in stage["reasons"].items()
            },
        }
        for stage in figures["stages"]
    ]


def _stage(name: str, stages: Facts) -> dict[str, Any]:
    stage, none = stages[name], {"documents": 0, "bytes": 0, "examples": []}
    found = {reason: none | entry for reason, entry in _sorted(stage.get("reasons", {})).items()}
    by = ("sources", "languages")
    reasons = {
        reason: entry | {name: _sorted(entry[name]) for name in by if name in entry} for reason, entry in found.items()
    }
    return {"name": name, **{count: stage.get(count, 0) for count in _COUNTS}, "reasons": reasons}


def _source(found: Facts) -> dict[str, Any]:
    counts = ("documents", "documents_kept", "documents_again", "bytes", "bytes_kept", "bytes_again")
    return {
        **{count: found.get(count, 0) for count in counts},
        "tokens": {part: found.get("tokens", {}).get(part, 0) for part in PARTS},
        "encodings": _sorted(found.get("encodings", {})),
        "replacements": found.get("replacements", 0),
        "missing": _sorted(found.get("missing", {})),  # rows without one of several fields
    }


def _sorted(facts: Facts) -> Facts:
    return dict(sorted(facts.items()))
