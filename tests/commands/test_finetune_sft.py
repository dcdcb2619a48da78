"""Answers of conversations through the command line: learning, writing, measuring, resuming, and what is refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import WORDS, bits, cli, run_verb

from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.generation.chat import Chat
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import read_folder, save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import train

TRAINING = [
    *("objective=sft", "optimizer=muon", "schedule.warmup_steps=3", "train.batch_rows=8", "train.seq_len=64"),
    *("train.log_every_steps=1", "device=cpu", "device.precision=fp32"),
]


def row(seed: int) -> dict[str, str]:
    """Say it again: the answer is a word of the prompt."""
    word = random.Random(seed).choice(list(WORDS)[:6])
    return {"instruction": f"say {word}", "input": "", "output": word}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations, and a model to start from."""
    home = tmp_path_factory.mktemp("home")
    for name, seeds in (("train.jsonl", range(200)), ("dev.jsonl", range(900, 930))):
        (home / name).write_text("".join(json.dumps(row(seed)) + "\n" for seed in seeds))
    (home / "base").mkdir()
    tokenizer = train(BytesConfig(), [])
    shape = DecoderConfig(architecture=Architecture.llama, dim=64, n_layers=2, n_heads=2, max_seq_len=64)
    model = materialise(Decoder.on_meta(shape.resolved(tokenizer.vocab_size)), torch.device("cpu"), 1)
    save_model(home / "base", model, tokenizer)
    return home


def words(home: Path, steps: int, run: str, *more: str) -> list[str]:
    data = [f"data.train={home / 'train.jsonl'}", f"data.validation={home / 'dev.jsonl'}", f"init_from={home / 'base'}"]
    return [*TRAINING, *data, f"train.max_steps={steps}", f"run.dir={home / run}", *more]


@pytest.fixture(scope="module")
def learned(home: Path) -> dict[str, Any]:
    return run_verb("finetune", words(home, 80, "run", "train.eval_every_steps=20"))


def test_answers_are_learned_written_and_measured(home: Path, learned: dict[str, Any]) -> None:
    assert learned["val_token_accuracy"] > 0.9
    asked = [f"checkpoint={home / 'run'}", "chat=true", "prompt=say cat", "temperature=0", "device=cpu"]
    done = cli("generate", *asked, "max_new_tokens=20", "--json")
    assert json.loads(done.stdout)["text"].strip() == "cat"
    files = [f"data.files={home / 'dev.jsonl'}", "evals=answers", "evals.seq_len=64", "device=cpu"]
    files.append("device.precision=fp32")
    measured = run_verb("evaluate", [f"checkpoint={home / 'run'}", *files])
    assert measured["loss"] == pytest.approx(learned["val_loss"], rel=1e-4)
    assert measured["token_accuracy"] == learned["val_token_accuracy"]
    assert measured["rows"] == 30


def test_line_parallel_text_has_no_fields_and_one_file_of_answers(home: Path) -> None:
    for name, one in (("a.en", "say cat"), ("a.de", "cat"), ("b.en", "say dog")):
        (home / name).write_text(f"{one}\n" * 4)
    text = [f"data.train={home / 'a.en'}", f"data.train_answers={home / 'a.de'}", "data.validation=null"]
    for key in ("data.form=alpaca", "data.prompt_field=q", f"data.validation_answers={home / 'a.de'}"):
        with pytest.raises(UserError) as caught:
            run_verb("finetune", words(home, 1, "no", *text, key))
        assert caught.value.given.startswith(key.partition("=")[0] + "= with ")
    asked = [f"checkpoint={home / 'base'}", "evals=answers", f"data.answers={home / 'a.de'}", "device=cpu"]
    with pytest.raises(UserError, match=r"(?s)a\.de with 2 files.*one file at a time"):
        run_verb("evaluate", [*asked, f"data.files=[{home / 'a.en'},{home / 'b.en'}]"])
    with pytest.raises(UserError, match=r"data\.form= with data\.answers="):
        run_verb("evaluate", [*asked, f"data.files={home / 'a.en'}", "data.form=alpaca"])


def test_a_template_that_does_not_fit_is_named(home: Path) -> None:
    (home / "bad.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    with pytest.raises(UserError, match=r"the chat template of objective\.template=.*bad\.jinja does not say where"):
        run_verb("finetune", words(home, 1, "no", f"objective.template={home / 'bad.jinja'}"))


def test_transformers_reads_the_template(home: Path, learned: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(learned["checkpoint"])
    text = theirs.apply_chat_template(
        [{"role": "user", "content": "say river"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "User: say river\n\nAssistant:"
    transformers.AutoModelForCausalLM.from_pretrained(learned["checkpoint"])


def test_marks_of_a_template_become_tokens_and_end_what_is_generated(home: Path) -> None:
    more = ["objective.template=chatml", "model.resize_vocab=true"]
    found = run_verb("finetune", words(home, 2, "chatml", *more))
    source, tokenizer = read_folder(Path(found["checkpoint"]))
    assert tokenizer.config["eos_token"] == "<|im_end|>"
    assert source.eos_ids == [tokenizer.eos_id]
    transformers = pytest.importorskip("transformers")
    messages = [{"role": "user", "content": "say river"}]
    theirs = transformers.AutoTokenizer.from_pretrained(found["checkpoint"])
    rendered = theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert rendered == Chat(tokenizer, "").encode(messages, "")
    with pytest.raises(UserError, match="resize_vocab"):
        run_verb("finetune", words(home, 2, "refused", "objective.template=chatml"))


def test_a_run_that_goes_on_ends_with_the_same_bits(home: Path) -> None:
    more = ["train.save_every_steps=3", "schedule=constant", "train.eval_every_steps=3"]
    run_verb("finetune", words(home, 3, "two", *more))
    run_verb("finetune", words(home, 9, "two", *more))
    run_verb("finetune", words(home, 9, "one", *more))
    assert bits(home / "one") == bits(home / "two")


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ('{"messages": [{"role": "user", "content": "a"}]}', [], "the user has the last word"),
        ('{"messages": [{"role": "robot", "content": "a"}]}', [], "role 'robot'"),
        ('{"instruction": "a", "output": " "}', [], "an empty answer"),
        ('{"question": "a", "answer": "b"}', [], "data.prompt_field="),
        ('{"instruction": "a", "output": "b"}', ["data.label_field=x"], "data.label_field"),
        ('{"instruction": "a", "output": "b"}', ["objective=classify", "data.form=alpaca"], "data.form"),
        ('{"instruction": "' + "a" * 99 + '", "output": "b"}', [], "no conversation has an answer within 64 tokens"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    home: Path, tmp_path: Path, content: str, more: list[str], message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(content + "\n")
    data = [f"data.train={tmp_path / 'rows.jsonl'}", f"init_from={home / 'base'}", f"run.dir={tmp_path / 'run'}"]
    with pytest.raises(UserError) as refused:
        run_verb("finetune", [*TRAINING, *data, "train.max_steps=2", *more])
    assert message in str(refused.value)


def test_files_whose_lines_have_no_partner(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_text("eins\n")
    data = [f"data.train={tmp_path / 'a.en'}", f"data.train_answers={tmp_path / 'a.de'}", f"init_from={home / 'base'}"]
    with pytest.raises(UserError, match="goes on after line 1"):
        run_verb("finetune", [*TRAINING, *data, f"run.dir={tmp_path / 'run'}", "train.max_steps=2"])
