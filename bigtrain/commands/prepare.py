"""`bigtrain prepare`: raw text -> a prepared set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.errors import UserError

if TYPE_CHECKING:
    from bigtrain.config import Loaded
    from bigtrain.data.cleaning.schema import CleanConfig
    from bigtrain.data.schema import DataConfig, TokenizerConfig
    from bigtrain.data.shards import PreparedSet
    from bigtrain.tokenizer import Tokenizer

_PARTS = ("train", "validation", "test")
_MOST_REASONS = 8  # shown


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Prepare, and return what came of it: one flat object (with `dry_run`: what preparing would take).

    Raises UserError, RunBusy, LostProcess, DiskFull.
    """
    from bigtrain.data.pipeline import Steps, prepare
    from bigtrain.evaluation import data_report

    config = loaded.config
    _refuse_unread(loaded)
    candidates = _candidates(config.tokenizer)
    by_source = _clean_by_source(config.data)
    output = Path(config.output)
    steps = Steps.of(config.clean, config.decontaminate, config.pii, config.dedup, by_source)
    if dry_run:
        from bigtrain.data.pipeline import estimate

        return estimate(config.data, config.tokenizer, output, steps=steps, executor=config.executor)
    made = prepare(
        config.data,
        config.tokenizer,
        output,
        steps=steps,
        executor=config.executor,
        candidates=candidates,
        finish=data_report.write,
    )
    return _totals(made)


def _refuse_unread(loaded: Loaded) -> None:
    """Refuse keys that this command sets and that change nothing beside its other keys. Raises UserError."""
    from bigtrain.commands.tasks.base import refuse_unread
    from bigtrain.data.schema import OnError

    data, clean, dedup = loaded.config.data, loaded.config.clean, loaded.config.dedup
    decontaminate, pii = loaded.config.decontaminate, loaded.config.pii
    for keys, are_read, given, rule in (
        ("data.max_errors", data.on_error is OnError.skip, "data.on_error=stop", "the first error ends the command"),
        (
            "clean.language.min_confidence",
            clean.language.identify,
            "clean.language.identify=false",
            "no language is identified",
        ),
        ("dedup.ngram dedup.bands dedup.rows", dedup.near, "dedup.near=false", "near duplicates are not looked for"),
        ("dedup.paragraph_min_chars", dedup.paragraphs, "dedup.paragraphs=false", "paragraphs are not compared"),
        ("pii.kinds", pii.action != "none", "pii=none", "nothing is looked for"),
        (
            "decontaminate.ngram decontaminate.action decontaminate.text_field",
            bool(decontaminate.files or decontaminate.sources),
            "no decontaminate.files=",
            "no evaluation set is looked for",
        ),
    ):
        if not are_read:
            refuse_unread(loaded, keys.split(), given, rule)
    _refuse_fields(loaded)


def _refuse_fields(loaded: Loaded) -> None:
    """Refuse the names of fields where no file has any; the input is looked for only where some are given."""
    from bigtrain.commands.tasks.base import refuse_unread
    from bigtrain.data.pipeline.api import refuse_prepared
    from bigtrain.data.reading.sources import find

    data, names = loaded.config.data, ("text_field", "group_field")
    refuse_prepared(data)
    of_source = {name: [f"data.sources.{name}.{field}" for field in names] for name in data.sources}
    of_all = [f"data.{field}" for field in names]
    if not loaded.named & {*of_all, *(key for keys in of_source.values() for key in keys)}:
        return
    sources, rule = find(data), "only rows have fields (jsonl, json, csv, tsv, parquet)"
    for name, keys in {None: of_all, **of_source}.items():
        formats = {source.format for source in sources if name in (None, source.name)}
        if not any(format.has_fields for format in formats):
            refuse_unread(loaded, keys, f"{' and '.join(sorted(formats))} files", rule)


def _clean_by_source(data: DataConfig) -> dict[str, CleanConfig]:
    """The presets of the sources that have one of their own. Raises UserError."""
    from bigtrain.config import folders, load

    searched, found = folders.search(), {}
    for name, preset in ((name, source.clean) for name, source in data.sources.items() if source.clean is not None):
        if not folders.find(searched, f"clean/{preset}"):
            options = ", ".join(folders.options(searched, "clean"))
            raise UserError(f"data.sources.{name}.clean={preset}", f"it is one of {options}", "correct the name")
        found[name] = load("prepare", ["data=stdlib", "output=none", f"clean={preset}"]).config.clean
    return found


def _candidates(config: TokenizerConfig) -> dict[str, Tokenizer | TokenizerConfig]:
    """The tokenizers of `tokenizer.compare`, with as many entries as the set's own. Raises UserError."""
    from bigtrain.config import folders, load
    from bigtrain.data.schema import AutoTokenizerConfig, FileTokenizerConfig
    from bigtrain.tokenizer import choose

    found: dict[str, Tokenizer | TokenizerConfig] = {}
    searched = folders.search()
    for name in [] if isinstance(config, AutoTokenizerConfig) else config.compare:
        if folders.find(searched, f"tokenizer/{name}"):
            chosen = load("prepare", ["data=stdlib", "output=none", f"tokenizer={name}"]).config.tokenizer
            if hasattr(chosen, "vocab_size") and hasattr(config, "vocab_size"):
                chosen = dataclasses.replace(chosen, vocab_size=config.vocab_size)
            found[name] = chosen
        elif Path(name).expanduser().exists():
            short = Path(name).name
            found[name if short in found else short] = choose(FileTokenizerConfig(path=name))
        else:
            raise UserError(
                f"tokenizer.compare=[{name}]",
                f"a tokenizer is one of {', '.join(folders.options(searched, 'tokenizer'))}, or a path",
                "correct the name",
            )
    return found


def _totals(made: PreparedSet) -> dict[str, Any]:
    manifest = made.manifest
    splits = {part: manifest["splits"][part] for part in _PARTS}
    tokens = sum(counts["tokens"] for counts in splits.values())
    report = made.path / "report.html"
    return {
        "output": str(made.path),
        "files": manifest["input"]["files"],
        "documents_read": manifest["stages"][0]["documents_in"],
        "documents_kept": manifest["stages"][-1]["documents_out"],
        "documents": sum(counts["documents"] for counts in splits.values()),
        **{f"documents_{part}": counts["documents"] for part, counts in splits.items()},
        "tokens": tokens,
        **{f"tokens_{part}": counts["tokens"] for part, counts in splits.items()},
        **{f"learned_{part}": counts["learned"] for part, counts in splits.items() if "learned" in counts},
        **{f"bytes_{part}": counts["bytes"] for part, counts in splits.items()},
        "bytes_per_token": sum(counts["bytes"] for counts in splits.values()) / tokens,
        "dropped": {
            f"{stage['name']}:{reason}": entry["documents"]
            for stage in manifest["stages"]
            for reason, entry in stage["reasons"].items()
            if entry["documents"]
        },
        "errors": manifest["errors"],
        "split_by": manifest["split"]["by"],
        "tokenizer": manifest["settings"]["tokenizer"]["name"],
        "vocab_size": manifest["tokenizer"]["vocab_size"],
        "dtype": manifest["dtype"],
        "report": str(report) if report.exists() else None,
        "fingerprint": made.fingerprint,
    }


def show(result: dict[str, Any]) -> None:
    """The result as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    from bigtrain.config.folders import shown

    console, output = Console(), shown(Path(result["output"]))
    if "dry_run" in result:
        console.print(f"dry run: {output}", highlight=False, soft_wrap=True)
        table = Table(show_header=False)
        for name, value in result.items():
            if name not in ("dry_run", "output"):
                table.add_row(name, _shown(value))
        console.print(table)
        return
    parts = [part for part in _PARTS if part != "test" or result["documents_test"]]
    console.print(output, highlight=False, soft_wrap=True)
    table = Table("", *parts)
    learned = ["learned"] if "learned_train" in result else []
    for what in ("documents", "bytes", "tokens", *learned):
        table.add_row(what, *(f"{result[f'{what}_{part}']:,}" for part in parts))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    dropped = sorted(result["dropped"].items(), key=lambda item: (-item[1], item[0]))
    if dropped:
        named = [f"{count:,} {reason}" for reason, count in dropped[:_MOST_REASONS]]
        more = ", ..." if len(dropped) > _MOST_REASONS else ""
        console.print(f"dropped of {result['documents_read']:,} documents: {', '.join(named)}{more}", highlight=False)
    if result["errors"]:
        console.print(f"could not be read and were skipped: {result['errors']:,} rows or files", highlight=False)
    console.print(
        f"tokenizer {result['tokenizer']}: {result['vocab_size']:,} entries, "
        f"{result['bytes_per_token']:.2f} bytes a token, stored as {result['dtype']}"
    )
    if result["report"]:
        console.print(f"report {shown(Path(result['report']))}", highlight=False, soft_wrap=True)
    console.print(f"fingerprint {result['fingerprint']}", highlight=False)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
