"""`bigtrain prepare`: raw text -> a prepared set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigtrain.config import Loaded


def run(loaded: Loaded) -> dict[str, Any]:
    """Prepare, and return what came of it: one flat object. Raises UserError, DiskFull."""
    from bigtrain.data.pipeline import prepare

    config = loaded.config
    prepared = prepare(config.data, config.tokenizer, Path(config.output))
    manifest = prepared.manifest
    train, validation = manifest["splits"]["train"], manifest["splits"]["validation"]
    tokens, n_bytes = train["tokens"] + validation["tokens"], train["bytes"] + validation["bytes"]
    return {
        "output": str(prepared.path),
        "files": manifest["sources"]["files"],
        "documents": train["documents"] + validation["documents"],
        "documents_train": train["documents"],
        "documents_validation": validation["documents"],
        "tokens": tokens,
        "tokens_train": train["tokens"],
        "tokens_validation": validation["tokens"],
        "bytes_train": train["bytes"],
        "bytes_validation": validation["bytes"],
        "bytes_per_token": n_bytes / tokens,
        "split_by": manifest["split"]["by"],
        "tokenizer": manifest["settings"]["tokenizer"]["name"],
        "vocab_size": manifest["tokenizer"]["vocab_size"],
        "dtype": manifest["dtype"],
        "fingerprint": prepared.fingerprint,
    }


def show(result: dict[str, Any]) -> None:
    """The result as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "train", "validation", title=result["output"], title_justify="left")
    for what in ("documents", "bytes", "tokens"):
        counts = (f"{result[f'{what}_{part}']:,}" for part in ("train", "validation"))
        table.add_row(what, *counts)
    for column in table.columns[1:]:
        column.justify = "right"
    console = Console()
    console.print(table)
    console.print(
        f"tokenizer {result['tokenizer']}: {result['vocab_size']:,} entries, "
        f"{result['bytes_per_token']:.2f} bytes a token, stored as {result['dtype']}"
    )
    console.print(f"fingerprint {result['fingerprint']}", highlight=False)
