"""`bigtrain prepare` as a function: what it returns and what it shows."""

import json
from pathlib import Path

import pytest
from harness import run_verb

from bigtrain.commands import prepare
from bigtrain.config import load
from bigtrain.data.shards import PreparedSet
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
        "documents_kept": 1,
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


def test_fertility_is_measured_by_language_whatever_is_cleaned(tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    texts = ["The cats of this house sleep all day and hunt at night.", "Die Katzen dieses Hauses schlafen am Tag."]
    texts += ["这座房子里的猫白天睡觉，晚上捕猎。", "x = f(3)"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows = [f"data.files={tmp_path / 'rows.jsonl'}", "tokenizer=bytes", "data.validation_fraction=0"]
    run_verb("prepare", [*rows, f"output={tmp_path / 'set'}"])
    figures = json.loads((tmp_path / "set" / "statistics.json").read_text())["tokenizer"]
    assert set(figures["languages"]) == {"de", "en", "und", "zh"}
    assert 3 < figures["languages"]["zh"]["fertility"] < 4 < figures["languages"]["en"]["fertility"]


@pytest.mark.parametrize("name", ["bpee", "no_tokenizer.json"])
def test_tokenizers_to_compare_are_checked_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no_tokenizer.json").write_text("{}")
    other = load("prepare", words(tmp_path, f"tokenizer.compare=[{name}]", f"output={tmp_path / 'other'}"))
    for dry_run in (True, False):
        with pytest.raises(UserError, match=name):
            prepare.run(other, dry_run=dry_run)
    assert not list(tmp_path.glob("other*"))
    run_verb("prepare", words(tmp_path))
    run_verb("prepare", words(tmp_path, "tokenizer.compare=[bytes]"))
    assert "not measured with this set: bytes" in caplog.text


@pytest.mark.parametrize(
    "word",
    [
        "data.text_field=body",
        "data.group_field=site",
        "data.max_errors=3",
        "clean.language.min_confidence=0.5",
        "dedup.bands=20",
        "dedup.ngram=3",
        "dedup.paragraph_min_chars=20",
        "pii.kinds=[email]",
        "decontaminate.ngram=8",
    ],
)
def test_a_key_that_changes_nothing_is_refused(word: str, tmp_path: Path) -> None:
    key = word.partition("=")[0]
    with pytest.raises(UserError, match=f"{key}= with"):
        prepare.run(load("prepare", words(tmp_path, word)), dry_run=True)


def test_fields_are_refused_of_the_source_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0123456789" * 10)
    (tmp_path / "b.jsonl").write_text('{"body": "0123456789"}')
    files = [f"data.sources.{name}.files={tmp_path / file}" for name, file in (("a", "a.txt"), ("b", "b.jsonl"))]
    common = [*files, "tokenizer=bytes", f"output={tmp_path / 'set'}"]
    for accepted in ("data.text_field=body", "data.sources.b.text_field=body"):
        prepare.run(load("prepare", [*common, accepted]), dry_run=True)
    with pytest.raises(UserError, match=r"data\.sources\.a\.text_field= with txt files"):
        prepare.run(load("prepare", [*common, "data.sources.a.text_field=body"]), dry_run=True)


@pytest.mark.parametrize(
    "given",
    [
        ["clean.length.min_characters=9", "clean.length.max_characters=5"],
        ["clean.gopher.min_mean_word_length=9", "clean.gopher.max_mean_word_length=5"],
        ["clean.gopher.min_words=9", "clean.gopher.max_words=5"],
        ["clean.language.identify=true", "clean.language.keep=[english]"],
    ],
)
def test_contradictions_are_found_by_the_dry_run(given: list[str], tmp_path: Path) -> None:
    if "keep" in given[-1]:
        pytest.importorskip("py3langid")
    with pytest.raises(UserError, match=given[-1].partition("=")[0]):
        prepare.run(load("prepare", words(tmp_path, *given)), dry_run=True)


def test_a_dry_run_says_what_it_would_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = prepare.run(load("prepare", words(tmp_path, "dedup=near")), dry_run=True)
    assert (result["files"], result["bytes"], result["parts"], result["workers"]) == (1, 100, 1, 1)
    assert result["stages"] == ["read", "clean", "exact", "near", "split"]
    assert result["tokenizer"] == "chars"
    assert not (tmp_path / "set").exists()
    prepare.show(result)
    assert "read, clean, exact, near, split" in capsys.readouterr().out


def test_a_source_is_cleaned_by_a_preset_of_its_own(tmp_path: Path) -> None:
    row = json.dumps({"text": "two  spaces  and a \x07 bell "})
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text(row + "\n")
    files = [f"data.sources.{name}.files={tmp_path / f'{name}.jsonl'}" for name in "abc"]
    common = [*files, "tokenizer=bytes", "data.validation_fraction=0", "dedup=none", f"output={tmp_path / 'set'}"]
    own = ["data.sources.b.clean=none", "data.sources.c.clean=web"]
    made = run_verb("prepare", [*common, *own])
    prepared = PreparedSet.open(tmp_path / "set")
    text = prepared.tokenizer().decode(prepared.split("train").tokens.tolist())
    assert text == "two  spaces  and a  bell" + "two  spaces  and a \x07 bell "
    (reason,) = made["dropped"]
    assert reason in ("clean:quality:gopher_words", "clean:language:unsure")
    stages = {stage["name"]: stage for stage in prepared.manifest["stages"]}
    assert stages["clean"]["reasons"][reason.removeprefix("clean:")]["sources"] == {"c": 1}
    with pytest.raises(UserError, match=r"other input or settings"):
        run_verb("prepare", common)
    with pytest.raises(UserError, match=r"data\.sources\.a\.clean=webb"):
        prepare.run(load("prepare", [*common, "data.sources.a.clean=webb"]), dry_run=True)
    small = ["model=tiny", "device=cpu", "train.max_steps=1", f"run.dir={tmp_path / 'run'}", "tokenizer=bytes"]
    with pytest.raises(UserError, match="nothing is cleaned on the way"):
        run_verb("pretrain", [*files, own[1], *small])


DIALOGUES = [f"Question: {n} and 1\nAnswer: {n + 1}\n\nQuestion: {n} twice\nAnswer: {2 * n}" for n in range(60)]
BETWEEN = r'data.loss_between=["Answer:","Question:"]'


def dialogues(tmp_path: Path, *more: str) -> list[str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in DIALOGUES))
    return [f"data.files={rows}", "tokenizer=bytes", "data.validation_fraction=0.2", BETWEEN, *more]


def test_a_loss_mask_is_heard_in_training_and_in_evaluation(tmp_path: Path) -> None:
    made = run_verb("prepare", dialogues(tmp_path, f"output={tmp_path / 'set'}"))
    prepared = PreparedSet.open(tmp_path / "set")
    train = prepared.split("train")
    assert made["learned_train"] == train.n_targets() < made["tokens_train"] // 2
    assert train.learned is not None
    shown = "".join(
        chr(token) if token < 128 else "\n" for token, flag in zip(train.tokens, train.learned, strict=True) if flag
    )
    assert shown.startswith(DIALOGUES[0].partition("Answer:")[2].partition("Question:")[0] + "Question: 0\n")

    small = ["model=tiny", "model.dim=32", "model.n_heads=2", "model.n_layers=1", "model.max_seq_len=64", "device=cpu"]
    words = [*small, "train.batch_rows=4", "train.max_steps=3", "train.eval_tokens=null", f"run.dir={tmp_path / 'run'}"]
    trained = run_verb("pretrain", [*words, f"data.path={tmp_path / 'set'}"])
    checkpoint = f"checkpoint={tmp_path / 'run'}"
    measured = run_verb("evaluate", [checkpoint, f"data.path={tmp_path / 'set'}", "evals.stride=64"])
    assert measured["tokens"] == prepared.split("validation").n_targets()
    assert measured["loss"] == pytest.approx(trained["val_loss"], abs=1e-5)
    everything = run_verb("evaluate", [checkpoint, f"data.files={tmp_path / 'rows.jsonl'}"])
    assert everything["tokens"] > 4 * measured["tokens"]


def test_a_beginning_without_learned_tokens_is_left_out_or_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    long = "x" * 300 + " Answer: yes\n"
    rows.write_text("".join(json.dumps({"text": f"{n} {long}"}) + "\n" for n in range(60)))
    files = [f"data.files={rows}", "tokenizer=bytes", "data.validation_fraction=0.3", "data.loss_between=[Answer:]"]
    run_verb("prepare", [*files, f"output={tmp_path / 'set'}"])
    small = ["model=tiny", "model.dim=32", "model.n_heads=2", "model.n_layers=1", "model.max_seq_len=64", "device=cpu"]
    small += ["train.batch_rows=4", "train.max_steps=2", "train.eval_train_tokens=100", "train.eval_tokens=null"]
    run_verb("pretrain", [*small, f"data.path={tmp_path / 'set'}", f"run.dir={tmp_path / 'run'}"])
    measured = [f"checkpoint={tmp_path / 'run'}", f"data.path={tmp_path / 'set'}"]
    with pytest.raises(UserError, match=r"0 to be predicted in the first 100 \(evals\.max_tokens\)"):
        run_verb("evaluate", [*measured, "evals.max_tokens=100"])
    assert run_verb("evaluate", [*measured, "evals.max_tokens=400"])["loss"] > 0


def test_a_loss_mask_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text for training holds 'Reply:'"):
        run_verb("prepare", dialogues(tmp_path, f"output={tmp_path / 'set'}", "data.loss_between=[Reply:]"))
    assert not (tmp_path / "set").exists()
    with pytest.raises(UserError, match="between two strings"):
        run_verb("prepare", dialogues(tmp_path, f"output={tmp_path / 'set'}", "data.loss_between=[a,b,c]"))


def test_an_encoder_has_no_use_for_a_loss_mask(tmp_path: Path) -> None:
    words = ["objective=masked", "model=bert-tiny", "device=cpu", f"run.dir={tmp_path / 'run'}", "tokenizer=wordpiece"]
    with pytest.raises(UserError, match="it guesses hidden tokens wherever they are"):
        run_verb("pretrain", [*dialogues(tmp_path), *words, "tokenizer.vocab_size=100", "train.max_steps=2"])
