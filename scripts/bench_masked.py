"""BERT from random weights: bigtrain against transformers' Trainer, the same shape, rows and steps, masks by each.

    .venv/bin/python -m pip install -e '.[bench]'                  once: the Trainer needs accelerate
    .venv/bin/python scripts/bench_masked.py loss TEXT.txt ...     held-out loss: AdamW, and ours with Muon
    .venv/bin/python scripts/bench_masked.py speed TEXT.txt ...    tokens a second of CPU time, bf16, compiled

The loss of both is measured by `bigtrain evaluate`: the same hidden tokens of the same held-out text.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import contest

TINY, MINI = (
    contest.Shape(name, "bert", layers, heads, heads, dim, 4 * dim, vocab, seq_len, batch_rows)
    for name, layers, heads, dim, vocab, seq_len, batch_rows in (
        ("bert-tiny", 2, 2, 128, 1024, 64, 32),
        ("bert-mini", 4, 4, 256, 8192, 128, 32),
    )
)
RATE, WARMUP = 1e-3, 30
ADAMW = contest.adamw(RATE, WARMUP)
MUON = ["optimizer=muon-small", "schedule=wsd-half"]  # those of recipe=bert_mini


def prepared(shape: contest.Shape, setting: contest.Setting, texts: list[Path]) -> Path:
    """A WordPiece vocabulary and its tokens; the end of every text is held out."""
    folder = setting.work / f"words-{shape.vocab_size}"
    if not folder.exists():
        files = ",".join(str(text.resolve()) for text in texts)
        words = ["tokenizer=wordpiece", f"tokenizer.vocab_size={shape.vocab_size}", "data.split_by=tail"]
        contest.verb(setting, "prepare", f"data.files=[{files}]", *words, f"output={folder}")
    return folder


def training(shape: contest.Shape, data: Path, *more: str) -> list[str]:
    words = [f"model={shape.name}", f"model.max_seq_len={shape.seq_len}", f"data.path={data}", "objective=masked"]
    words += [f"train.seq_len={shape.seq_len}", f"train.batch_rows={shape.batch_rows}", "train.save_every_steps=null"]
    return ["pretrain", *words, "train.eval_every_steps=null", "device=cpu", "parallel.threads=1", *more]


def trainer(shape: contest.Shape, like: Path, data: Path, *more: str) -> list[str]:
    words = ["--like", str(like), "--data", str(data / "train.bin"), "--seq-len", str(shape.seq_len)]
    words += ["--rows", str(shape.batch_rows), "--warmup", str(WARMUP), "--lr", str(RATE)]
    return [str(contest.HERE / "hf_masked.py"), *words, *more]


def loss(o: argparse.Namespace, setting: contest.Setting) -> str:
    """A table: the held-out loss of each seed."""
    shape, rows = TINY, []
    data = prepared(shape, setting, o.texts)
    for seed in range(o.seeds):
        found = []
        for name, words in (("adamw", ["objective.unit=tokens", *ADAMW]), ("muon", MUON)):
            run = [*words, f"seed={seed}", f"train.max_steps={o.steps}", "device.precision=fp32"]
            result = contest.verb(setting, *training(shape, data, *run, f"run.dir={setting.work / f'{name}-{seed}'}"))
            found.append(Path(str(result["checkpoint"])))
        theirs = setting.work / f"trainer-{seed}"
        command = trainer(shape, found[0], data, "--steps", str(o.steps), "--seed", str(seed), "--save", str(theirs))
        contest.run_trainer(setting, command)
        measured = ["evals.max_tokens=60000", "evals.alone_tokens=0", "device=cpu", "device.precision=fp32"]
        asked = ["evaluate", f"data.path={data}", *measured]
        folders = (found[0], theirs, found[1])
        rows.append([float(str(contest.verb(setting, *asked, f"checkpoint={one}")["loss"])) for one in folders])
        print(f"seed {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    return contest.seed_table(["bigtrain", "Trainer", "bigtrain, Muon"], rows, 4)


def speed(o: argparse.Namespace, setting: contest.Setting) -> str:
    """A table: tokens a second of CPU time."""
    shape = MINI
    data = prepared(shape, setting, o.texts)
    short = training(shape, data, "train.max_steps=1", f"run.dir={setting.work / 'shape'}", "device.compile=false")
    like = Path(str(contest.verb(setting, *short)["checkpoint"]))
    ours = training(shape, data, *ADAMW, "train.max_steps=100000", "device.precision=bf16", "device.compile=true")
    contestants = [
        contest.Contestant("bigtrain", ["-m", "bigtrain", *ours, f"train.micro_batch_rows={shape.batch_rows}"]),
        contest.Contestant("trainer", trainer(shape, like, data, "--precision", "bf16", "--compile")),
    ]
    return contest.markdown(contest.summary(contest.hold(contestants, shape, setting, o.rounds), "tokens_per_cpu_s"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["loss", "speed"])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of a training run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="scratch folder; default: one that is removed at the end")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = (o.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        setting = contest.Setting("cpu", threads=1, warmup=4, window=1, windows=10, work=work)
        print((loss if o.part == "loss" else speed)(o, setting))


if __name__ == "__main__":
    main()
