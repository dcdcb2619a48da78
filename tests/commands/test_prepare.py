"""`bigtrain prepare` as a function: what it returns and what it shows."""

import json
from pathlib import Path

import pytest
from harness import run_verb

from bigtrain.commands import prepare
from bigtrain.config import load
from bigtrain.errors import UserError


def words(tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "a.txt").write_text("0123456789" * 10)
    files = [f"data.files={tmp_path / 'a.txt'}", "data.validation_fraction=0.2"]
    return [*files, "tokenizer=chars", f"output={tmp_path / 'set'}", *more]


def test_the_totals_are_flat_and_right(tmp_path: Path) -> None:
    result = run_verb("prepare", words(tmp_path))
    assert len(result.pop("fingerprint")) == 64
    assert result == {
        "output": str(tmp_path / "set"),
        "files": 1,
        "documents_read": 1,
        "documents": 2,
        "documents_train": 1,
        "documents_validation": 1,
        "documents_test": 0,
        "tokens": 102,
        "tokens_train": 81,
        "tokens_validation": 21,
        "tokens_test": 0,
        "bytes_train": 80,
        "bytes_validation": 20,
        "bytes_test": 0,
        "bytes_per_token": 100 / 102,
        "dropped": {},
        "errors": 0,
        "split_by": "tail",
        "tokenizer": "chars",
        "vocab_size": 12,
        "dtype": "uint16",
        "report": str(tmp_path / "set" / "report.html"),
    }


def test_the_same_command_again_gives_the_same_result(tmp_path: Path) -> None:
    assert run_verb("prepare", words(tmp_path)) == run_verb("prepare", words(tmp_path))


def test_the_table_names_what_matters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_verb("prepare", words(tmp_path))
    prepare.show(result | {"dropped": {"clean:length:short": 1234, "exact:duplicate": 5}, "errors": 7})
    shown = capsys.readouterr().out
    expected = ("train", "validation", "81", "21", "12 entries", "1,234 clean:length:short", "7 rows", "report.html")
    assert [word for word in (*expected, result["fingerprint"]) if word not in shown] == []
    assert "test" not in shown.partition("train")[2].partition("tokens")[0]
    prepare.show(run_verb("prepare", words(tmp_path, "data.test_fraction=0.1", f"output={tmp_path / 'other'}")))
    assert "test" in capsys.readouterr().out.partition("train")[2].partition("tokens")[0]


def test_tokenizers_are_compared(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "0", "##1", "##2"]))
    more = [f"tokenizer.compare=[bpe,bytes,{tmp_path / 'words.txt'}]", "tokenizer=bytes"]
    run_verb("prepare", words(tmp_path, *more))
    figures = json.loads((tmp_path / "set" / "statistics.json").read_text())["tokenizer"]
    assert [one["name"] for one in figures["candidates"]] == ["the set's own", "bpe", "bytes", "words.txt"]
    assert figures["candidates"][0]["bytes_per_token"] == figures["bytes_per_token"] == 1.0
    assert figures["candidates"][1]["bytes_per_token"] > 1
    with pytest.raises(UserError, match=r"tokenizer\.compare=\[bpee\]"):
        run_verb("prepare", words(tmp_path, "tokenizer.compare=[bpee]", f"output={tmp_path / 'other'}"))


def test_a_dry_run_says_what_it_would_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = prepare.run(load("prepare", words(tmp_path, "dedup=near")), dry_run=True)
    assert (result["files"], result["bytes"], result["parts"], result["workers"]) == (1, 100, 1, 1)
    assert result["stages"] == ["read", "clean", "exact", "near", "split"]
    assert result["tokenizer"] == "chars"
    assert not (tmp_path / "set").exists()
    prepare.show(result)
    assert "read, clean, exact, near, split" in capsys.readouterr().out
