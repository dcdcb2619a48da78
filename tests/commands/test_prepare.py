"""`bigtrain prepare` as a function: what it returns and what it shows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bigtrain.commands import prepare
from bigtrain.data.schema import CharsConfig, DataConfig


def run(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "a.txt").write_text("0123456789" * 10)
    config = SimpleNamespace(
        data=DataConfig(files=[str(tmp_path / "a.txt")], validation_fraction=0.2),
        tokenizer=CharsConfig(),
        output=str(tmp_path / "set"),
    )
    return prepare.run(SimpleNamespace(config=config))  # type: ignore[arg-type]


def test_the_totals_are_flat_and_right(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert len(result.pop("fingerprint")) == 64
    assert result == {
        "output": str(tmp_path / "set"),
        "files": 1,
        "documents": 2,
        "documents_train": 1,
        "documents_validation": 1,
        "tokens": 102,
        "tokens_train": 81,
        "tokens_validation": 21,
        "bytes_train": 80,
        "bytes_validation": 20,
        "bytes_per_token": 100 / 102,
        "split_by": "tail",
        "tokenizer": "chars",
        "vocab_size": 12,
        "dtype": "uint16",
    }


def test_the_same_command_again_gives_the_same_result(tmp_path: Path) -> None:
    assert run(tmp_path) == run(tmp_path)


def test_the_table_names_what_matters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path)
    prepare.show(result)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("train", "validation", "81", "21", "12 entries", result["fingerprint"]))
