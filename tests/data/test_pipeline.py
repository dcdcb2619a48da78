"""From raw files to a prepared set, in a folder and in the cache."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bigtrain.data.pipeline import cache_folder, plan, prepare, prepared, run, tokens
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.pipeline.work import held
from bigtrain.data.reading import sources
from bigtrain.data.schema import (
    AutoTokenizerConfig,
    BPEConfig,
    BytesConfig,
    CharsConfig,
    DataConfig,
    FileTokenizerConfig,
    OnError,
    SplitBy,
    TokenizerConfig,
    WordsConfig,
)
from bigtrain.data.shards import PreparedSet
from bigtrain.errors import DiskFull, RunBusy, Stopped, UserError
from bigtrain.tokenizer import Tokenizer, train

BPE = BPEConfig(vocab_size=400)


@pytest.fixture
def corpus(tmp_path: Path) -> DataConfig:
    """200 rows and a text."""
    rng = random.Random(0)
    words = ["the", "cat", "sat", "über", "中文", "<|endoftext|>", "\n\n", "x1", "don't"]
    rows = [{"text": " ".join(rng.choice(words) for _ in range(rng.randrange(1, 60)))} for _ in range(200)]
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, {"text": ""}]))
    (folder / "text.txt").write_text("A text of its own. " * 20)
    return DataConfig(files=[str(folder)], validation_fraction=0.1)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def texts(found: PreparedSet, part: str) -> list[str]:
    split, tokenizer = found.split(part), found.tokenizer()
    ends = [*split.document_starts[1:], len(split)]
    return [
        tokenizer.decode(split.tokens[a : b - 1].tolist()) for a, b in zip(split.document_starts, ends, strict=True)
    ]


def nothing_left(folder: Path) -> bool:
    return not [path.name for path in folder.iterdir() if path.name.endswith((".tmp", ".preparing"))]


@pytest.mark.parametrize("config", [BPE, BytesConfig(), CharsConfig(), WordsConfig(vocab_size=30)])
def test_the_text_is_in_the_set_in_its_order(corpus: DataConfig, config: TokenizerConfig, tmp_path: Path) -> None:
    found = prepare(corpus, config, tmp_path / "set")
    given = [document.text for document in sources.documents(corpus)]
    parts = {part: texts(found, part) for part in ("train", "validation")}
    if not isinstance(config, CharsConfig | WordsConfig):  # these may meet something new in the validation part
        assert [text for text in given if text in parts["train"]] == parts["train"]
        assert [text for text in given if text in parts["validation"]] == parts["validation"]
    assert len(parts["train"]) + len(parts["validation"]) == len(given) == 201
    assert len(parts["validation"]) > 5
    eos = found.tokenizer().eos_id
    assert sum((found.split(part).tokens == eos).sum() for part in parts) == len(given)
    assert sum(found.split(part).n_bytes for part in parts) == sum(len(text.encode()) for text in given)
    found.verify()


def test_the_same_input_gives_the_same_bytes(corpus: DataConfig, tmp_path: Path) -> None:
    first = prepare(corpus, BPE, tmp_path / "a")
    moved = tmp_path / "moved"
    Path(corpus.files[0]).rename(moved)
    second = prepare(DataConfig(files=[str(moved)], validation_fraction=0.1), BPE, tmp_path / "b")
    assert content(first.path) == content(second.path)


def test_batches_change_nothing(corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(corpus, BPE, tmp_path / "a")
    monkeypatch.setattr(tokens, "_BATCH_CHARACTERS", 300)
    second = prepare(corpus, BPE, tmp_path / "b")
    assert content(first.path) == content(second.path)


def test_the_division_into_parts_changes_nothing(
    corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(corpus, BPE, tmp_path / "a")
    monkeypatch.setattr(plan, "_LARGEST_PART", 1000)
    assert len(Plan.make(corpus, BPE).parts) > 10
    second = prepare(corpus, BPE, tmp_path / "b")
    assert content(first.path) == content(second.path)


def test_the_tokenizer_is_trained_on_the_training_part_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcabcabc" * 10 + "zzzzzzzzzz")
    found = prepare(DataConfig(files=[str(path)], validation_fraction=0.1), CharsConfig(), tmp_path / "set")
    assert set(found.tokenizer().backend.get_vocab()) == {"a", "b", "c", "<|unk|>", "<|endoftext|>"}
    assert found.manifest["settings"]["split_by"] == "document"
    assert found.manifest["split"]["by"] == "tail"


def test_tiny_shakespeare_is_nanogpt_s(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "tinyshakespeare" / "input.txt"
    data = DataConfig(files=[str(path)], split_by=SplitBy.tail, validation_fraction=0.1)
    found = prepare(data, CharsConfig(), tmp_path / "set")
    text = path.read_text(encoding="utf-8")
    letters = sorted(set(text))
    assert found.vocab_size == len(letters) + 2 == 67
    assert found.split("train").tokens[:-1].tolist() == [letters.index(letter) for letter in text[:1003854]]
    assert texts(found, "validation") == [text[1003854:]]


@pytest.mark.parametrize(
    "change",
    [
        {"validation_fraction": 0.2},
        {"test_fraction": 0.1},
        {"split_by": SplitBy.tail},
        {"text_field": ["text", "text"]},
        {"tokenizer": BPEConfig(vocab_size=401)},
        {"tokenizer": BytesConfig()},
        {"content": "changed"},
    ],
    ids=str,
)
def test_the_fingerprint_knows_everything_that_matters(corpus: DataConfig, change: dict[str, Any]) -> None:
    before = prepared(corpus, BPE).fingerprint
    tokenizer = change.pop("tokenizer", BPE)
    if new_content := change.pop("content", None):
        (Path(corpus.files[0]) / "text.txt").write_text(new_content)
    assert prepared(corpus, BPE).fingerprint == before or new_content
    settings = {"files": corpus.files, "validation_fraction": 0.1, **change}
    assert prepared(DataConfig(**settings), tokenizer).fingerprint != before


def test_the_cache_is_used_and_it_is_said(
    corpus: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))
    with caplog.at_level("INFO", "bigtrain"):
        first = prepared(corpus, BPE)
        assert f"cached in {cache_folder() / 'prepared' / first.fingerprint}" in caplog.text
        caplog.clear()
        second = prepared(corpus, BPE)
        assert f"reused from {first.path}" in caplog.text
    assert first.path == second.path == cache_folder() / "prepared" / first.fingerprint


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("BIGTRAIN_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "bigtrain"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "bigtrain"


def test_auto_is_bpe_of_8192(corpus: DataConfig) -> None:
    assert prepared(corpus, AutoTokenizerConfig()).manifest["settings"]["tokenizer"] == {
        "name": "bpe",
        "vocab_size": 8192,
    }


def test_a_checkpoint_s_tokenizer_is_used(corpus: DataConfig, tmp_path: Path) -> None:
    tokenizer = train(BPEConfig(vocab_size=300), ["some other text " * 9])
    found = prepared(corpus, AutoTokenizerConfig(), tokenizer)
    assert found.tokenizer().hash == tokenizer.hash
    tokenizer.save(tmp_path)
    assert prepared(corpus, FileTokenizerConfig(path=str(tmp_path))).path == found.path
    assert prepared(corpus, BPE).path != found.path


def test_a_set_made_with_another_tokenizer_is_refused(corpus: DataConfig, tmp_path: Path) -> None:
    found = prepare(corpus, BPE, tmp_path / "set")
    found.tokenizer().save(tmp_path)
    given = DataConfig(path=str(found.path))
    for config in (AutoTokenizerConfig(), BPE, FileTokenizerConfig(path=str(tmp_path))):
        assert prepared(given, config).fingerprint == found.fingerprint
    assert prepared(given, AutoTokenizerConfig(), found.tokenizer()).fingerprint == found.fingerprint
    other = train(BytesConfig(), [])
    with pytest.raises(UserError) as caught:
        prepared(given, AutoTokenizerConfig(), other)
    assert other.hash[:12] in str(caught.value)
    assert found.tokenizer().hash[:12] in str(caught.value)
    with pytest.raises(UserError, match=r"vocab_size=500\n.*tokenizer=bpe tokenizer\.vocab_size=400"):
        prepared(given, BPEConfig(vocab_size=500))
    other.save(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.path="):
        prepared(given, FileTokenizerConfig(path=str(tmp_path)))


def test_a_tokenizer_without_end_of_document_is_refused(corpus: DataConfig, tmp_path: Path) -> None:
    spec = {**train(BytesConfig(), []).spec, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UserError, match="eos_token"):
        prepare(corpus, FileTokenizerConfig(path=str(tmp_path)), tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert nothing_left(tmp_path)


def test_an_output_that_exists(corpus: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = prepare(corpus, BPE, tmp_path / "set")
    times = {path.name: path.stat().st_mtime_ns for path in found.path.iterdir()}
    with caplog.at_level("INFO", "bigtrain"):
        assert prepare(corpus, BPE, tmp_path / "set").fingerprint == found.fingerprint
    assert "already prepared" in caplog.text
    assert times == {path.name: path.stat().st_mtime_ns for path in found.path.iterdir()}
    with pytest.raises(UserError, match="other input or settings"):
        prepare(corpus, BytesConfig(), tmp_path / "set")
    for other in (tmp_path / "corpus", tmp_path / "corpus" / "text.txt"):
        with pytest.raises(UserError, match="nothing is overwritten"):
            prepare(corpus, BPE, other)
    (tmp_path / "empty").mkdir()
    assert prepare(corpus, BPE, tmp_path / "empty").fingerprint == found.fingerprint


@pytest.mark.parametrize("output", ["corpus/text.txt/set", "corpus/text.txt"])
def test_an_output_that_cannot_be_made(corpus: DataConfig, output: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output=DIR|choose a new folder"):
        prepare(corpus, BPE, tmp_path / output)


def test_a_read_only_place(corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        prepare(corpus, BPE, tmp_path / "set")
    with pytest.raises(UserError, match="BIGTRAIN_CACHE"):
        prepared(corpus, BPEConfig(vocab_size=411))


def test_a_prepared_set_is_not_prepared_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not prepared again"):
        prepare(DataConfig(path="x"), BPE, tmp_path / "set")


@pytest.mark.parametrize("kind", ["user", "disk"])
def test_nothing_half_written_stays(
    corpus: DataConfig, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = UserError("x", "y", "z") if kind == "user" else OSError(28, "No space left on device")
    calls = 0

    def fail(self: object, part: str, texts: list[str]) -> list[int]:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise error
        return [1 for _ in texts]

    monkeypatch.setattr(tokens, "_BATCH_CHARACTERS", 300)
    monkeypatch.setattr(tokens.ShardWriter, "add", fail)
    with pytest.raises(UserError if kind == "user" else DiskFull):
        prepare(corpus, BPE, tmp_path / "set")
    assert calls == 4
    left = {"corpus"} if kind == "user" else {"corpus", "set.preparing"}
    assert {path.name for path in tmp_path.iterdir()} == left
    monkeypatch.undo()
    assert prepare(corpus, BPE, tmp_path / "set").verify() is None
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "set"}


def test_an_input_that_changes_meanwhile_is_noticed(
    corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = run.make_documents

    def append(job: Any) -> Any:
        with open(Path(corpus.files[0]) / "text.txt", "a") as file:
            file.write("more")
        return make(job)

    monkeypatch.setattr(run, "make_documents", append)
    with pytest.raises(UserError, match="changed while it was read"):
        prepare(corpus, BPE, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("on_error", OnError)
def test_an_input_that_vanishes_meanwhile_is_an_error(
    on_error: OnError, corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where errors are skipped it is one of them, and no fingerprint says that the file is in the set."""
    promised = Plan.make(corpus, BPE).fingerprint
    make = run.make_documents

    def remove(job: Any) -> Any:
        (Path(corpus.files[0]) / "text.txt").unlink(missing_ok=True)
        return make(job)

    monkeypatch.setattr(run, "make_documents", remove)
    corpus.on_error = on_error
    if on_error is OnError.skip:
        found = prepare(corpus, BPE, tmp_path / "set")
        assert found.manifest["errors"] == 1
        assert sum(counts["documents"] for counts in found.manifest["splits"].values()) == 200
        assert found.fingerprint != promised
    else:
        with pytest.raises(UserError, match=r"text\.txt"):
            prepare(corpus, BPE, tmp_path / "set")
        assert not (tmp_path / "set").exists()


def test_the_cache_promises_no_file_that_is_gone(
    corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, path = run.make_documents, Path(corpus.files[0]) / "text.txt"

    def remove(job: Any) -> Any:
        path.unlink(missing_ok=True)
        return make(job)

    corpus.on_error = OnError.skip
    with monkeypatch.context() as patch:
        patch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))
        patch.setattr(run, "make_documents", remove)
        with pytest.raises(UserError, match="gone since"):
            prepared(corpus, BytesConfig())
        prepared(corpus, BytesConfig()).verify()


def test_files_that_cannot_be_opened_are_skipped_and_counted(corpus: DataConfig, tmp_path: Path) -> None:
    (Path(corpus.files[0]) / "dangling.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"dangling\.txt"):
        prepare(corpus, BytesConfig(), tmp_path / "set")
    corpus.on_error = OnError.skip
    found = prepare(corpus, BytesConfig(), tmp_path / "set")
    assert found.manifest["errors"] == 1
    assert prepare(corpus, BytesConfig(), tmp_path / "set").fingerprint == found.fingerprint
    (Path(corpus.files[0]) / "dangling.txt").unlink()
    assert prepare(corpus, BytesConfig(), tmp_path / "other").fingerprint != found.fingerprint
    corpus.on_error, corpus.max_errors = OnError.skip, 0
    (Path(corpus.files[0]) / "dangling.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"\(and 0 before\)"):
        prepare(corpus, BytesConfig(), tmp_path / "third")


def test_skipping_errors_goes_on_from_what_is_done(corpus: DataConfig, tmp_path: Path) -> None:
    clean = prepare(corpus, BytesConfig(), tmp_path / "clean")
    corpus.on_error = OnError.skip
    assert prepare(corpus, BytesConfig(), tmp_path / "clean").fingerprint == clean.fingerprint
    with open(Path(corpus.files[0]) / "rows.jsonl", "a") as file:
        file.write("\nbroken")
    assert prepare(corpus, BytesConfig(), tmp_path / "set").manifest["errors"] == 1
    corpus.on_error = OnError.stop
    with pytest.raises(UserError, match="leaves out 1 rows or files"):
        prepare(corpus, BytesConfig(), tmp_path / "set")


@pytest.mark.parametrize("given", [".", "**/*.json*", "data"])
def test_output_inside_the_input_is_no_input(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text('{"text": "one row"}\n' * 9)
    monkeypatch.chdir(tmp_path)
    data = DataConfig(files=[given], validation_fraction=0)
    output = Path("data/set")
    with monkeypatch.context() as patch:
        patch.setattr(run.Preparation, "_set", stopped)
        with pytest.raises(Stopped):
            prepare(data, BytesConfig(), output)
    assert list(Path("data/set.preparing").glob("*/*/done.json"))
    found = prepare(data, BytesConfig(), output)
    assert found.manifest["input"]["files"] == 1
    assert prepare(data, BytesConfig(), output).fingerprint == found.fingerprint
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "status.json"):
        (tmp_path / "run" / name).write_text("{}")
    assert prepare(data, BytesConfig(), output).fingerprint == found.fingerprint
    with pytest.raises(UserError, match="no field 'text'"):  # what is named itself is meant
        prepare(DataConfig(files=["data/set/statistics.json"]), BytesConfig(), tmp_path / "other")


def stopped(*_: object) -> None:
    raise Stopped("late")


def test_bad_input_leaves_nothing(corpus: DataConfig, tmp_path: Path) -> None:
    with open(Path(corpus.files[0]) / "rows.jsonl", "a") as file:
        file.write("\nbroken")
    without_validation = DataConfig(files=corpus.files, validation_fraction=0)
    with pytest.raises(UserError, match=r"rows\.jsonl:202: not JSON"):
        prepare(without_validation, BPE, tmp_path / "set")
    assert nothing_left(tmp_path)


PREPARE = """
import sys; from pathlib import Path
from bigtrain import log; log.setup()
from bigtrain.exits import guarded
from bigtrain.data.pipeline import prepare, prepared; from bigtrain.data.schema import *
data, config = DataConfig(files=[sys.argv[1]], validation_fraction=0.1), BPEConfig(vocab_size=400)
def work():
    prepare(data, config, Path(sys.argv[2])) if len(sys.argv) > 2 else prepared(data, config)
raise SystemExit(guarded(work))
"""


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, *arguments],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_several_processes_prepare_one_entry(corpus: DataConfig, tmp_path: Path) -> None:
    """All of them succeed, and what is there is one whole set."""
    processes = [start(corpus.files[0], BIGTRAIN_CACHE=str(tmp_path / "cache")) for _ in range(4)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert sum("cached in" in error for error in errors) == 1
    assert sum("reused from" in error for error in errors) == 3
    (folder,) = (tmp_path / "cache" / "prepared").iterdir()
    PreparedSet.open(folder).verify()


def test_a_loser_of_the_rename_uses_the_winner_s(
    corpus: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no locks, two processes may do the same work."""

    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    into = run.Preparation.into

    def overtaken(self: run.Preparation, *arguments: Any) -> None:
        monkeypatch.setattr(run.Preparation, "into", into)
        prepare(corpus, BPE, tmp_path / "set")
        into(self, *arguments)

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr(run.Preparation, "into", overtaken)
    prepare(corpus, BPE, tmp_path / "set").verify()
    assert nothing_left(tmp_path)


def test_what_a_killed_run_leaves_is_used_or_cleaned_by_the_next(corpus: DataConfig, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (big / "a.txt").write_text("some words and more of them\n" * 50_000)
    work = tmp_path / "set.preparing"
    process = start(str(big), str(tmp_path / "set"))
    deadline = time.monotonic() + 30
    while not list(work.glob("*/*/done.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(work.glob("documents/*/done.json"))
    assert not (tmp_path / "set").exists()
    prepare(corpus, BPE, tmp_path / "set").verify()
    assert nothing_left(tmp_path)


def test_two_runs_into_one_output(corpus: DataConfig, tmp_path: Path) -> None:
    with held(tmp_path / "set", wait=False):
        process = start(corpus.files[0], str(tmp_path / "set"))
        assert str(os.getpid()) in process.communicate()[1]
        assert process.returncode == RunBusy.exit_code
    assert nothing_left(tmp_path)


def test_somebody_s_folder_is_left_alone(corpus: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "set.preparing").mkdir()
    (tmp_path / "set.preparing" / "notes").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        prepare(corpus, BPE, tmp_path / "set")
    assert (tmp_path / "set.preparing" / "notes").read_text() == "mine"


def test_a_foreign_tokenizer_file(corpus: DataConfig, test_data: Path, tmp_path: Path) -> None:
    path = test_data / "neox_tokenizer" / "allenai_gpt-neox-olmo-dolma-v1_5.json"
    found = prepare(corpus, FileTokenizerConfig(path=str(path)), tmp_path / "set")
    assert found.tokenizer().hash == Tokenizer.load(path).hash
    assert found.manifest["settings"]["tokenizer"]["name"] == "file"
    given = [document.text for document in sources.documents(corpus)]
    assert sorted(texts(found, "train") + texts(found, "validation")) == sorted(given)
