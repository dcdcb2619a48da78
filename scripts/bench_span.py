"""Answers to questions: bigtrain against transformers' Trainer from the same encoder, with the same rows and steps.

    .venv/bin/python -m pip install -e '.[bench]'                              once: the Trainer needs accelerate
    .venv/bin/python scripts/bench_span.py score ENCODER train.json dev.json   exact match and F1 of each seed
    .venv/bin/python scripts/bench_span.py speed ENCODER train.json dev.json   rows a second of CPU time

Both are measured by `bigtrain evaluate`, whose numbers are those of SQuAD's official script.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import contest

SHAPE = contest.Shape("encoder", "bert", 6, 12, 12, 384, 1536, 30522, 384, 16)  # of all-MiniLM-L6
WARMUP, RATE = 30, 2e-4
NAMES = ("exact_match", "f1")


def training(o: argparse.Namespace, *more: str) -> list[str]:
    words = ["finetune", "objective=span", f"init_from={o.encoder}", f"data.train={o.train}"]
    words += ["data.validation_fraction=0", f"train.seq_len={SHAPE.seq_len}", f"train.batch_rows={SHAPE.batch_rows}"]
    words += contest.adamw(RATE, WARMUP)
    words += ["train.eval_every_steps=null", "train.save_every_steps=null", "device=cpu", "parallel.threads=1"]
    return [*words, f"device.precision={o.precision}", *more]


def trainer(o: argparse.Namespace, *more: str) -> list[str]:
    words = ["--model", str(o.encoder), "--data", str(o.train), "--seq-len", str(SHAPE.seq_len)]
    words += ["--overlap", str(SHAPE.seq_len // 4), "--rows", str(SHAPE.batch_rows), "--warmup", str(WARMUP)]
    return [str(contest.HERE / "hf_span.py"), *words, "--lr", str(RATE), "--precision", o.precision, *more]


def measured(o: argparse.Namespace, setting: contest.Setting, folder: str) -> list[float]:
    words = [f"checkpoint={folder}", f"data.files={o.dev}", f"evals.seq_len={SHAPE.seq_len}"]
    found = contest.verb(setting, "evaluate", *words, "device=cpu", "device.precision=fp32")
    return [100 * float(str(found[name])) for name in NAMES]


def score(o: argparse.Namespace, setting: contest.Setting) -> str:
    """A table: exact match and F1 of each seed."""
    rows = []
    for seed in range(o.seeds):
        run = setting.work / f"bigtrain-{seed}"
        ours = contest.verb(setting, *training(o, f"train.max_steps={o.steps}", f"seed={seed}", f"run.dir={run}"))
        theirs = setting.work / f"trainer-{seed}"
        command = trainer(o, "--steps", str(o.steps), "--seed", str(seed), "--save", str(theirs))
        contest.run_trainer(setting, command)
        rows.append([*measured(o, setting, str(ours["checkpoint"])), *measured(o, setting, str(theirs))])
        print(f"seed {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    columns = ["bigtrain: exact match", "F1", "Trainer: exact match", "F1"]
    return contest.seed_table(columns, rows, 2)


def speed(o: argparse.Namespace, setting: contest.Setting) -> str:
    """A table: tokens a second of CPU time, rows counted as if all were full: a row is 384 of them."""
    ours = training(o, "train.max_steps=100000", f"train.micro_batch_rows={SHAPE.batch_rows}")
    contestants = [
        contest.Contestant("bigtrain", ["-m", "bigtrain", *ours]),
        contest.Contestant("trainer", trainer(o)),
    ]
    found = contest.hold(contestants, SHAPE, setting, o.rounds)
    return contest.markdown(contest.summary(found, "tokens_per_cpu_s"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["score", "speed"])
    for name in ("encoder", "train", "dev"):
        parser.add_argument(name, type=lambda path: Path(path).resolve())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=372, help="of a training run; 372 are 6 passes over 991 rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--work", type=Path, help="scratch folder; default: one that is removed at the end")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = (o.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        setting = contest.Setting("cpu", threads=1, warmup=4, window=4, windows=10, work=work)
        print((score if o.part == "score" else speed)(o, setting))


if __name__ == "__main__":
    main()
