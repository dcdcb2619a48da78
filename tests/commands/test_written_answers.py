"""Answers that a model writes, through the command line: in `evaluate`, inside a run, and what is refused."""

import builtins
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import WORDS, bits, cli, run_verb

from bigtrain.commands import evaluate
from bigtrain.commands.tasks.answers import answering
from bigtrain.config import load
from bigtrain.data.schema import BytesConfig
from bigtrain.data.tasks.conversations import Conversation
from bigtrain.errors import UserError
from bigtrain.generation.chat import Chat
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import train
from bigtrain.tokenizer.chat import with_template

FP32 = ["device=cpu", "device.precision=fp32"]
TRAINING = [
    *("objective=sft", "optimizer=muon", "schedule.warmup_steps=3", "schedule=constant", "train.batch_rows=8"),
    *("train.seq_len=64", "train.log_every_steps=1", *FP32),
]
WRITTEN = ("exact_match", "bleu", "chrf", "rouge_l", "unfinished")
MANY = ["objective.eval_answers=12", "objective.max_new_tokens=10"]


def row(seed: int) -> dict[str, str]:
    """Say it again: the answer is a word of the prompt."""
    word = random.Random(seed).choice(list(WORDS)[:6])
    return {"prompt": f"say {word}", "completion": f"{word} {word}"}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations, and a model to start from."""
    home = tmp_path_factory.mktemp("home")
    write(home / "train.jsonl", *map(row, range(200)))
    write(home / "dev.jsonl", *map(row, range(900, 920)))
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
    more = ["train.eval_every_steps=8", "train.metric=rouge_l", "train.keep_last=9"]
    return run_verb("finetune", words(home, 24, "run", *MANY, *more))


def evaluated(home: Path, checkpoint: Any, *more: str) -> dict[str, Any]:
    files = [f"data.files={home / 'dev.jsonl'}", "evals=answers", "evals.seq_len=64", *FP32]
    return run_verb("evaluate", [f"checkpoint={checkpoint}", *files, *more])


def test_a_run_and_evaluate_give_the_same_metrics(home: Path, learned: dict[str, Any]) -> None:
    last = evaluated(home, learned["checkpoint"], "evals.max_tokens=12")  # the length of answers is the run's
    assert {name: learned[name] for name in WRITTEN} == {name: last[name] for name in WRITTEN}
    assert (last["rows"], last["answers"]) == (12, 12)
    best = evaluated(home, learned["best_checkpoint"], "evals.max_tokens=12", "evals.max_new_tokens=10")
    assert {name: learned[f"best_{name}"] for name in WRITTEN} == {name: best[name] for name in WRITTEN}
    lines = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [line["rouge_l"] for line in lines if line["split"] == "validation"]
    assert len(measured) == 4
    assert learned["best_rouge_l"] == max(measured[1:])  # that of the model it starts from decides nothing
    assert learned["best_rouge_l"] > measured[0] + 0.1


def test_evaluate_reads_the_fields_that_the_run_read(home: Path) -> None:
    """Own names, and columns of a file without a header line: else its first row would be taken for one."""
    rows = [row(seed) for seed in range(40)]
    lines = "".join(f"{one['prompt']}\t{one['completion']}\n" for one in rows)
    (home / "bare.tsv").write_text(lines, encoding="utf-8")
    write(home / "own.jsonl", *({"q": one["prompt"], "a": one["completion"]} for one in rows))
    for file, more in (
        (home / "bare.tsv", ["data.columns=[prompt,completion]"]),
        (home / "own.jsonl", ["data.prompt_field=q", "data.answer_field=a"]),
    ):
        run = words(home, 2, file.stem, *more, f"data.train={file}", f"data.validation={file}")
        done = run_verb("finetune", run)
        found = evaluated(home, done["checkpoint"], f"data.files={file}", "evals.max_new_tokens=0")
        assert found["rows"] == 40
        assert found["loss"] == pytest.approx(done["val_loss"], abs=1e-5)


def test_rows_of_another_form_are_not_read_as_the_run_read_its_own(home: Path) -> None:
    own, chosen = write(home / "asked.jsonl", *({"q": f"say {n}", "a": "x"} for n in range(40))), home / "pairs.jsonl"
    write(chosen, *({"prompt": f"say {n}", "chosen": "yes", "rejected": "no"} for n in range(4)))
    files = [f"data.train={own}", f"data.validation={own}", "data.prompt_field=q", "data.answer_field=a"]
    done = run_verb("finetune", words(home, 1, "asked", *files))
    given = [f"checkpoint={done['checkpoint']}", *FP32]
    assert run_verb("evaluate", [*given, f"data.files={chosen}", "evals=preference"])["rows"] == 4
    turns = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "x"}]
    talk = write(home / "talk.jsonl", {"messages": turns})
    more = [f"data.files={talk}", "evals=answers", "evals.max_new_tokens=0"]
    assert run_verb("evaluate", [*given, *more, "data.form=messages"])["rows"] == 1


def test_what_is_written_is_what_transformers_writes(home: Path, learned: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    sacrebleu = pytest.importorskip("sacrebleu")
    found = evaluated(home, home / "run", f"output={home / 'out'}", "evals.max_new_tokens=10")
    rows = [json.loads(line) for line in (home / "out" / "predictions.jsonl").read_text().splitlines()]
    folder = learned["best_checkpoint"]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for number, one in enumerate(rows):
        given = row(900 + number)
        assert (one["prompt"], one["answer"]) == (given["prompt"], given["completion"])
        messages = [{"role": "user", "content": given["prompt"]}]
        asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        ids = asked["input_ids"] if hasattr(asked, "keys") else asked
        said = model.generate(ids, max_new_tokens=10, do_sample=False)[0, ids.shape[1] :]
        assert tokenizer.decode(said, skip_special_tokens=True).strip() == one["generated"]
        assert one["finished"] == (int(said[-1]) == tokenizer.eos_token_id)
        assert one["exact_match"] == (one["generated"] == one["answer"])
        assert one["chrf"] == pytest.approx(sacrebleu.sentence_chrf(one["generated"], [one["answer"]]).score, abs=1e-5)
    texts, wanted = [one["generated"] for one in rows], [one["answer"] for one in rows]
    assert found["bleu"] == sacrebleu.corpus_bleu(texts, [wanted]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(texts, [wanted]).score
    assert found["exact_match"] == sum(map(str.__eq__, texts, wanted)) / len(rows)
    assert found["rouge_l"] == pytest.approx(sum(one["rouge_l"] for one in rows) / len(rows), abs=1e-6)
    report = (home / "out" / "report.html").read_text()
    assert report.count("answer of the data") == 12
    assert f"{home / 'dev.jsonl'}:" in report


def test_of_several_turns_the_last_is_written(home: Path, learned: dict[str, Any], tmp_path: Path) -> None:
    turns = [("user", "say cat"), ("assistant", "no"), ("user", "say dog"), ("assistant", "dog dog")]
    path = write(tmp_path / "chat.jsonl", {"messages": [{"role": role, "content": text} for role, text in turns]})
    found = evaluated(home, home / "run", f"data.files={path}", f"output={tmp_path}", "evals.max_new_tokens=8")
    assert (found["rows"], found["answers"]) == (1, 1)
    [one] = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert (one["prompt"], one["answer"]) == ("say cat\n\nno\n\nsay dog", "dog dog")
    asked = write(tmp_path / "asked.jsonl", {"messages": [{"role": role, "content": text} for role, text in turns[:3]]})
    lines = [f"checkpoint={home / 'run'}", f"prompts={asked}", f"output={tmp_path / 'said.jsonl'}", "temperature=0"]
    run_verb("generate", [*lines, "max_new_tokens=8", *FP32])
    assert json.loads((tmp_path / "said.jsonl").read_text())["completion"].strip() == one["generated"]


def test_the_mark_of_the_template_ends_an_answer_whatever_ends_a_document() -> None:
    tokenizer = with_template(train(BytesConfig(), []), "chatml", grow=True)
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == "<|endoftext|>"
    turns = [{"role": "user", "content": "say cat"}, {"role": "assistant", "content": " cat\n"}]
    shape = DecoderConfig(dim=8, n_layers=1, n_heads=1, max_seq_len=64).resolved(tokenizer.vocab_size)
    chat = Chat(tokenizer, "here")
    found = answering([Conversation(turns, "f:1")], chat, tokenizer, shape, max_new_tokens=9, eos_ids=[7])
    assert found.eos_ids == {7, tokenizer.backend.token_to_id("<|im_end|>")}
    assert found.references == [["cat"]]
    assert found.prompts.prompts[0].ids == chat.encode(turns[:1], "f:1")


def test_lines_of_two_files_are_prompts_and_answers(home: Path, learned: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("say river\nsay dog\n")
    (tmp_path / "a.de").write_text("Fluss\nHund\n")
    files = [f"data.files={tmp_path / 'a.en'}", f"data.answers={tmp_path / 'a.de'}", f"output={tmp_path / 'out'}"]
    evaluated(home, home / "run", *files, "evals.max_new_tokens=3")
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [(one["prompt"], one["answer"]) for one in rows] == [("say river", "Fluss"), ("say dog", "Hund")]


def test_only_the_loss_where_nothing_is_to_be_written(
    home: Path, learned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sacrebleu(monkeypatch)
    found = evaluated(home, learned["checkpoint"], "evals.max_new_tokens=0")
    assert found["loss"] == pytest.approx(learned["val_loss"], rel=1e-5)
    assert not {*WRITTEN, "answers"} & found.keys()


def test_without_sacrebleu_nothing_is_trained_or_written(
    home: Path, learned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sacrebleu(monkeypatch)
    monkeypatch.setattr("bigtrain.generation.answers.write", None)  # not called
    with pytest.raises(UserError, match=r"bigtrain\[metrics\]"):
        evaluated(home, home / "run")
    with pytest.raises(UserError, match=r"bigtrain\[metrics\]"):
        run_verb("finetune", words(home, 2, "lacking", *MANY))
    assert not list((home / "lacking").glob("metrics.jsonl"))


def without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "sacrebleu":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_what_is_written_changes_no_bit_of_a_run(home: Path) -> None:
    more = ["train.eval_every_steps=2", "train.save_every_steps=2", *MANY]
    run_verb("finetune", words(home, 4, "whole", *more))
    run_verb("finetune", words(home, 2, "parts", *more))
    run_verb("finetune", words(home, 4, "parts", *more))
    assert bits(home / "parts") == bits(home / "whole")
    run_verb("finetune", words(home, 4, "plain", *more[:2]))
    assert bits(home / "plain")["model.safetensors"] == bits(home / "whole")["model.safetensors"]
    run_verb("finetune", words(home, 5, "parts", *more, "objective.eval_answers=3", "objective.max_new_tokens=4"))


def test_prompts_that_are_too_long_and_answers_that_are_longer_than_what_is_written(
    home: Path, learned: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "long.jsonl", {"prompt": "say " * 30, "completion": "x"}, row(0))
    with caplog.at_level("WARNING", "bigtrain"):
        found = evaluated(home, home / "run", f"data.files={path}", "evals.max_new_tokens=4", f"output={tmp_path}")
    assert "1 of 2 prompts are longer than 64 tokens" in caplog.text
    assert "1 of 2 answers of the data are longer than the 4 tokens" in caplog.text
    assert (found["rows"], found["answers"], found["unfinished"]) == (1, 2, 1.0)
    assert json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])["generated"] == ""


@pytest.mark.slow  # it starts two processes
def test_the_command_line(home: Path, learned: dict[str, Any], tmp_path: Path) -> None:
    lines = [f"checkpoint={home / 'run'}", f"data.files={home / 'dev.jsonl'}", "evals=answers", *FP32]
    few, many = (
        evaluate.run(load("evaluate", [*lines, f"evals.max_new_tokens={most}"]), dry_run=True) for most in (1, 101)
    )
    assert few["answers"] == 20
    assert many["flops"] - few["flops"] == pytest.approx(20 * 100 * few["flops_per_token"])
    done = cli("evaluate", *lines, "evals.max_new_tokens=10", "gates.rouge_l=>=2", "--json", "--nproc", "2")
    assert done.returncode == 3, done.stderr
    assert "rouge_l" in done.stderr
    alone = evaluated(home, home / "run", "evals.max_new_tokens=10")
    found = json.loads(done.stdout)
    assert {name: found[name] for name in WRITTEN} == {name: alone[name] for name in WRITTEN}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "completion": ""}, "bad.jsonl:2: an empty answer"),
        ({"prompt": "a"}, "bad.jsonl:2: no field 'completion'"),
        ({"prompt": 3, "completion": "a"}, "bad.jsonl:2: field 'prompt' is a JSON number"),
    ],
)
def test_bad_rows(home: Path, learned: dict[str, Any], tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "bad.jsonl", {"prompt": "a", "completion": "b"}, row)
    with pytest.raises(UserError) as refused:
        evaluated(home, home / "run", f"data.files={path}", f"output={tmp_path / 'out'}")
    assert message in refused.value.given
    assert not (tmp_path / "out").exists()


def test_keys_that_nothing_reads_are_refused(home: Path, learned: dict[str, Any]) -> None:
    for key in ("evals.overlap", "evals.max_answer_tokens", "evals.stride", "evals.alone_tokens"):
        with pytest.raises(UserError, match=f"{key}= with evals.answers=true"):
            evaluated(home, home / "run", f"{key}=3")
    text = [f"checkpoint={home / 'run'}", f"data.files={home / 'dev.jsonl'}", *FP32]
    for key in ("evals.overlap", "evals.max_answer_tokens", "evals.max_new_tokens", "evals.alone_tokens"):
        with pytest.raises(UserError, match=f"{key}= with checkpoint= of a language model"):
            run_verb("evaluate", [*text, f"{key}=3"])
    with pytest.raises(UserError, match=r"objective\.max_new_tokens=5 with objective\.eval_answers=0"):
        run_verb("finetune", words(home, 2, "refused", "objective.max_new_tokens=5"))
    lines = [word for word in words(home, 2, "refused", *MANY) if not word.startswith("data.validation=")]
    with pytest.raises(UserError, match=r"objective\.eval_answers=12 without validation data"):
        run_verb("finetune", [*lines, "data.validation_fraction=0"])
