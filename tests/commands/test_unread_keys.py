"""A key that this command would not read is refused: an option that changes nothing misleads."""

import json
from pathlib import Path

import pytest
from harness import TINY, run_verb, text

from bigtrain.errors import UserError

OF_ROWS = ["data.label_field=label", "data.pair_field=b", "data.columns=[text]", "data.label_separator=,"]
OF_TAGS = ["data.words_field=words", "data.tags_field=tags"]
OF_CHATS = ["data.form=alpaca", "data.prompt_field=question", "data.answer_field=answer"]
OF_TEXT = [
    "data.encoding=utf-8",
    "data.format=jsonl",
    "data.sample=5",
    "data.max_row_bytes=99",
    "data.document=line",
    "data.delimiter=;",
    "data.test_fraction=0.1",
]
SKIPPING = ["data.on_error=skip", "data.max_errors=3"]
TRAINED_TEXT = ["train.eval_tokens=100", "train.eval_train_tokens=100", "train.isolate_documents=true"]
AUGMENT = ["data.augment.swap=0.1"]
UNREAD = {
    "causal": [*OF_ROWS, *OF_TAGS, *OF_CHATS, *AUGMENT, "data.train_answers=a.txt"],
    "masked": [*OF_ROWS, *OF_TAGS, *OF_CHATS, *AUGMENT],
    "classify": [*OF_TAGS, *OF_CHATS, *OF_TEXT, *SKIPPING, *TRAINED_TEXT],
    "regress": [*OF_TAGS, *OF_CHATS, *OF_TEXT, *SKIPPING, *TRAINED_TEXT],
    "tag": [*OF_ROWS, *OF_CHATS, *OF_TEXT, *SKIPPING, *TRAINED_TEXT, *AUGMENT],
    "span": [*OF_ROWS, *OF_TAGS, *OF_CHATS, *OF_TEXT, *TRAINED_TEXT, *AUGMENT],
    "sft": [*OF_ROWS, *OF_TAGS, *OF_TEXT, *SKIPPING, *TRAINED_TEXT, *AUGMENT],
    "preference": [*OF_ROWS, *OF_TAGS, "data.answer_field=answer", *OF_TEXT, *SKIPPING, *TRAINED_TEXT, *AUGMENT],
}
MEASURED = {
    "text": [*OF_ROWS, *OF_TAGS, *OF_CHATS, "data.answers=a.txt", "evals.beta=0.2"],
    "labels": [*OF_TAGS, *OF_CHATS, *OF_TEXT, *SKIPPING, "data.validation_fraction=0.2", "data.split=test"],
    "chats": [*OF_ROWS, *OF_TAGS, *OF_TEXT, *SKIPPING, "evals.stride=3"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder, an encoder, a classifier and rows."""
    home = tmp_path_factory.mktemp("home")
    (home / "a.txt").write_text(text(3000))
    rows = [{"text": text(6, n), "label": "ab"[n % 2]} for n in range(20)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [*TINY, f"data.files={home / 'a.txt'}", "train.max_steps=1"]
    run_verb("pretrain", [*words, f"run.dir={home / 'decoder'}"])
    small = [word for word in words if not word.startswith("model.n_")]
    run_verb("pretrain", [*small, "model=bert-tiny", "objective=masked", f"run.dir={home / 'encoder'}"])
    words = ["objective=classify", f"init_from={home / 'decoder'}", f"data.train={home / 'rows.jsonl'}", "device=cpu"]
    run_verb("finetune", [*words, "train.max_steps=1", f"run.dir={home / 'classifier'}"])
    return home


@pytest.mark.parametrize(("objective", "word"), [(name, word) for name, words in UNREAD.items() for word in words])
def test_of_finetune(objective: str, word: str, home: Path, tmp_path: Path) -> None:
    start = "encoder" if objective in ("masked", "tag", "span") else "decoder"
    data = f"data.files={home / 'a.txt'}" if objective in ("causal", "masked") else f"data.train={home / 'rows.jsonl'}"
    words = [
        f"objective={objective}",
        f"init_from={home / start}",
        data,
        "device=cpu",
        "train.max_steps=1",
        f"run.dir={tmp_path / 'run'}",
    ]
    refused("finetune", words, word)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "word"), [(name, word) for name, words in MEASURED.items() for word in words])
def test_of_evaluate(kind: str, word: str, home: Path) -> None:
    file, model = ("a.txt", "decoder") if kind == "text" else ("rows.jsonl", "classifier")
    words = [
        f"checkpoint={home / (model if kind != 'chats' else 'decoder')}",
        f"data.files={home / file}",
        "device=cpu",
    ]
    refused("evaluate", [*words, *(["evals=answers"] if kind == "chats" else [])], word)


def refused(verb: str, words: list[str], word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(UserError) as caught:
        run_verb(verb, [*words, word])
    assert f"{key}=" in caught.value.given
    assert "with" in caught.value.given


OF_ALL = [
    ["parallel.shards=8"],
    ["search.seed=3"],
    ["train.sample_tokens=9"],
    ["train.patience_evals=3", "train.eval_every_steps=null"],
    ["device.fp32_matmul=fast"],
    ["model.rope_theta=500", "model.architecture=gpt2"],
]


@pytest.mark.parametrize("words", OF_ALL)
def test_of_every_run(words: list[str], prepared_set: Path, tmp_path: Path) -> None:
    common = [*TINY, f"data.path={prepared_set}", "train.max_steps=1", "device.precision=bf16"]
    refused("pretrain", [*common, f"run.dir={tmp_path / 'run'}", *words[1:]], words[0])
    assert not (tmp_path / "run").exists()


def test_a_text_is_measured_once(home: Path) -> None:
    words = [f"checkpoint={home / 'decoder'}", f"data.sources.a.files={home / 'a.txt'}", "device=cpu"]
    refused("evaluate", words, "data.sources.a.weight=3")
    refused("evaluate", [*words, "device.precision=bf16"], "device.fp32_matmul=fast")
