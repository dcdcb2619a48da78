"""Labels of texts: bigtrain against transformers' Trainer from the same weights, with the same rows, steps and batch.

    .venv/bin/python -m pip install -e '.[bench]'                         once: the Trainer needs accelerate
    .venv/bin/python scripts/bench_classify.py score SET FOLDER START     accuracy and macro F1 of each seed
    .venv/bin/python scripts/bench_classify.py speed SET FOLDER START     rows a second of CPU time, bf16; of wall clock
                                                                          with --threads 2 or more, on a quiet machine

SET is ag_news, sst2 or thucnews_titles, FOLDER where its files lie. START is `--encoder FOLDER`, an encoder that has
read text before, or `--vocab vocab.txt`: random weights, another for each seed, the same on both sides. Scores are
measured by `bigtrain evaluate` on rows that are not in training. Both put rows of like length together; the Trainer
then goes from long rows to short ones again and again, and from random weights may learn nothing: see --ungrouped.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import contest

ROWS, SEQ_LEN = 32, 128
SHAPES = {"bert-tiny": (2, 2, 128), "bert-mini": (4, 4, 256)}  # layers, heads, width of random weights
NAMES = ("accuracy", "macro_f1")
N_HELD_OUT = 1000  # of THUCNews' titles, of which there is one file
Rows = Iterator[dict[str, str]]


def main() -> None:
    o = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = (o.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        setting = contest.Setting(
            "cpu", threads=o.threads, warmup=o.warmup_steps, window=o.window, windows=1, work=work
        )
        print((score if o.part == "score" else speed)(o, setting))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("part", choices=["score", "speed"])
    add("set", choices=READERS)
    add("folder", type=lambda path: Path(path).resolve())
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--encoder", type=lambda path: Path(path).resolve())
    start.add_argument("--vocab", type=lambda path: Path(path).resolve())
    add("--shape", choices=SHAPES, default="bert-mini", help="of random weights")
    add("--seeds", type=int, default=3)
    add("--epochs", type=int, default=2)
    add("--lr", type=float, help="default: 1e-4 from an encoder, 5e-4 from random weights")
    add("--rounds", type=int, default=3)
    add("--warmup-steps", type=int, default=40, help="before a speed is measured: compiled models have met all lengths")
    add("--window", type=int, default=156, help="steps of which a speed is the mean; 156 are a pass over 5,000 rows")
    add("--threads", type=int, default=1)
    add("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    add("--no-dropout", action="store_true", help="take dropout out of the model, on both sides")
    add("--ungrouped", action="store_true", help="the Trainer takes rows in random order")
    add("--precision", choices=["fp32", "bf16"], default="bf16")
    add("--work", type=Path, help="scratch folder; default: one that is removed at the end")
    return parser.parse_args()


def ag_news(folder: Path) -> dict[str, Rows]:
    classes = (folder / "classes.txt").read_text().splitlines()

    def rows(name: str) -> Rows:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for number, title, text in csv.reader(file):
                yield {"text": f"{title}\n\n{text}", "label": classes[int(number) - 1]}

    return {"train": rows("train.csv"), "dev": rows("test.csv")}


def sst2(folder: Path) -> dict[str, Rows]:
    return {name: tabbed(folder / f"{name}.tsv", ["negative", "positive"]) for name in ("train", "dev")}


def thucnews_titles(folder: Path) -> dict[str, Rows]:
    rows = [*tabbed(folder / "dev.txt", (folder / "class.txt").read_text().split())]
    return {"train": iter(rows[:-N_HELD_OUT]), "dev": iter(rows[-N_HELD_OUT:])}


def tabbed(path: Path, classes: list[str]) -> Rows:
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, number = line.rpartition("\t")
        yield {"text": text, "label": classes[int(number)]}


READERS = {"ag_news": ag_news, "sst2": sst2, "thucnews_titles": thucnews_titles}


def prepared(o: argparse.Namespace, setting: contest.Setting) -> tuple[Path, Path, int]:
    """The rows as both read them, for training and for measuring, and the number of the former."""
    paths, n = [], {}
    for part, rows in READERS[o.set](o.folder).items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        paths.append(setting.work / f"{o.set}-{part}.jsonl")
        paths[-1].write_text("".join(lines), encoding="utf-8")
        n[part] = len(lines)
    return paths[0], paths[1], n["train"]


def start(o: argparse.Namespace, setting: contest.Setting, seed: int) -> Path:
    """The model folder that both sides begin with."""
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer, set_seed

    folder: Path = setting.work / f"start-{seed}"
    if o.encoder:
        tokenizer, model = AutoTokenizer.from_pretrained(o.encoder), AutoModel.from_pretrained(o.encoder)
    else:
        set_seed(seed)
        tokenizer = BertTokenizer(str(o.vocab))
        n_layers, n_heads, width = SHAPES[o.shape]
        sizes = BertConfig(
            vocab_size=len(tokenizer),
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            hidden_size=width,
            intermediate_size=4 * width,
        )
        model = BertModel(sizes)
    if o.no_dropout:
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rate(o: argparse.Namespace) -> float:
    return float(o.lr or (1e-4 if o.encoder else 5e-4))


def training(o: argparse.Namespace, folder: Path, train: Path, warmup: int, *more: str) -> list[str]:
    words = ["finetune", "objective=classify", f"init_from={folder}", f"data.train={train}"]
    words += [f"train.seq_len={SEQ_LEN}", f"train.batch_rows={ROWS}"]
    words += ["data.validation_fraction=0", "train.eval_every_steps=null", "train.save_every_steps=null"]
    words += ["device=cpu", f"parallel.threads={o.threads}"]
    return [*words, *contest.adamw(rate(o), warmup), f"device.precision={o.precision}", *more]


def trainer(o: argparse.Namespace, folder: Path, train: Path, warmup: int, *more: str) -> list[str]:
    words = ["--model", str(folder), "--data", str(train), "--seq-len", str(SEQ_LEN)]
    words += ["--rows", str(ROWS), "--warmup", str(warmup), "--lr", str(rate(o))]
    words += ["--precision", o.precision, *(["--ungrouped"] if o.ungrouped else [])]
    return [str(contest.HERE / "hf_classify.py"), *words, *more]


def measured(setting: contest.Setting, folder: str, dev: Path) -> list[float]:
    words = [f"checkpoint={folder}", f"data.files={dev}", f"evals.seq_len={SEQ_LEN}"]
    found = contest.verb(setting, "evaluate", *words, "device=cpu", "device.precision=fp32")
    return [100 * float(str(found[name])) for name in NAMES]


def score(o: argparse.Namespace, setting: contest.Setting) -> str:
    """A table: accuracy and macro F1 of each seed, in per cent."""
    train, dev, n_rows = prepared(o, setting)
    steps, rows = o.epochs * n_rows // ROWS, []
    for seed in range(o.seeds):
        begin, run = start(o, setting, seed), setting.work / f"bigtrain-{seed}"
        words = [f"train.max_steps={steps}", f"seed={seed}", f"run.dir={run}"]
        ours = contest.verb(setting, *training(o, begin, train, steps // 10, *words))
        theirs = setting.work / f"trainer-{seed}"
        words = ["--steps", str(steps), "--seed", str(seed), "--save", str(theirs)]
        contest.run_trainer(setting, trainer(o, begin, train, steps // 10, *words))
        rows.append([*measured(setting, str(ours["checkpoint"]), dev), *measured(setting, str(theirs), dev)])
        print(f"seed {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    return contest.seed_table(["bigtrain: accuracy", "macro F1", "Trainer: accuracy", "macro F1"], rows, 2)


CONTESTANTS = ("bigtrain", "bigtrain-compiled", "trainer", "trainer-compiled")


def speed(o: argparse.Namespace, setting: contest.Setting) -> str:
    """A table: rows a second of CPU time, or of wall clock for several threads."""
    train, _, _ = prepared(o, setting)
    folder = start(o, setting, 0)
    ours = ["-m", "bigtrain", *training(o, folder, train, 0, "train.max_steps=100000")]
    ours += [f"train.micro_batch_rows={ROWS}"]
    programs = {
        "bigtrain": ours,
        "bigtrain-compiled": [*ours, "device.compile=true"],
        "trainer": trainer(o, folder, train, 0),
        "trainer-compiled": trainer(o, folder, train, 0, "--compile"),
    }
    contestants = [contest.Contestant(name, programs[name]) for name in o.contestants]
    rows = contest.Shape("rows", "bert", 0, 1, 1, 0, 0, 0, 1, ROWS)  # of one token: tokens are rows
    clock = "tokens_per_cpu_s" if o.threads == 1 else "tokens_per_s"
    table = contest.summary(contest.hold(contestants, rows, setting, o.rounds), clock)
    return contest.markdown(
        {name: {clock.replace("tokens", "rows"): row.pop(clock), **row} for name, row in table.items()}
    )


if __name__ == "__main__":
    main()
