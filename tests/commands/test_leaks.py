"""Validation rows that stand in the training rows, or that are none: every objective on rows says so."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import text

from bigtrain.commands import finetune
from bigtrain.config import load
from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import train

OBJECTIVES = ["classify", "regress", "tag", "span", "sft", "preference"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to start from."""
    home = tmp_path_factory.mktemp("leaks")
    (home / "base").mkdir()
    tokenizer = train(BytesConfig(), [])
    shape = DecoderConfig(architecture=Architecture.llama, dim=16, n_layers=1, n_heads=2, max_seq_len=1024)
    model = Decoder.on_meta(shape.resolved(tokenizer.vocab_size))
    save_model(home / "base", materialise(model, torch.device("cpu"), 1), tokenizer)
    return home


def row(objective: str, said: str, number: int) -> dict[str, Any]:
    """A row of the objective's form whose text is `said`."""
    words = said.split()
    return {
        "classify": {"text": said, "label": "ab"[number % 2]},
        "regress": {"text": said, "label": number},
        "tag": {"tokens": words, "ner_tags": ["B-X" if number % 2 else "O", *["O"] * (len(words) - 1)]},
        "span": {
            "id": str(number),
            "question": "who?",
            "context": said,
            "answers": {"text": [words[0]], "answer_start": [0]},
        },
        "sft": {"prompt": said, "completion": f"answer {number}"},
        "preference": {"prompt": said, "chosen": f"good {number}", "rejected": f"bad {number}"},
    }[objective]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_leaks_are_reported(objective: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = [" ".join(text(80, seed).split()) for seed in range(8)]
    nearly = training[5].split()
    nearly[40] = "otherwise"
    checked = [training[2], " ".join(text(80, 99).split()), " ".join(nearly)]
    for name, texts in (("train", training), ("dev", checked)):
        rows = (json.dumps(row(objective, said, number)) + "\n" for number, said in enumerate(texts))
        (home / f"{objective}-{name}.jsonl").write_text("".join(rows))
    files = [
        f"data.{key}={home / f'{objective}-{name}'}.jsonl" for key, name in (("train", "train"), ("validation", "dev"))
    ]
    words = [f"objective={objective}", f"init_from={home / 'base'}", *files, "train.max_steps=1", "train.batch_rows=2"]
    with caplog.at_level(logging.WARNING, "bigtrain"):
        finetune.run(load("finetune", [*words, "device=cpu"]), dry_run=True)
    (warning,) = [record.getMessage() for record in caplog.records if "word for word" in record.getMessage()]
    assert "2 of 3" in warning
    assert "1 word for word and 1 nearly" in warning
    ends = [f"{objective}-{file}.jsonl:{line}" for file, line in (("dev", 1), ("train", 3), ("dev", 3), ("train", 6))]
    assert re.findall(r"[\w-]+\.jsonl:\d+", warning) == ends


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_too_few_rows_for_validation_are_said_and_refused_where_a_metric_decides(
    objective: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, said = home / f"{objective}-few.jsonl", " ".join(text(80, 1).split())
    path.write_text("".join(json.dumps(row(objective, said, number)) + "\n" for number in range(2)))
    words = [f"objective={objective}", f"init_from={home / 'base'}", f"data.train={path}", "train.max_steps=1"]
    words += ["train.batch_rows=2", "device=cpu"]
    with caplog.at_level(logging.INFO, "bigtrain"):
        finetune.run(load("finetune", words), dry_run=True)
    assert re.search(r"2 \w+ are too few to hold 0.05 of them out: there is no validation data", caplog.text)
    with pytest.raises(UserError, match=r"train.metric=loss without validation data: 2 \w+ are too few"):
        finetune.run(load("finetune", [*words, "train.metric=loss"]), dry_run=True)
    with pytest.raises(UserError, match=r"train.metric=loss without validation data\n"):
        finetune.run(load("finetune", [*words, "train.metric=loss", "data.validation_fraction=0"]), dry_run=True)
