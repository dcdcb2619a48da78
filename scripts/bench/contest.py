"""Contestants side by side: alternating runs under `steptime.py`, medians, a table, a row file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # bigtrain itself, where it is not installed

STARTED = time.strftime("%Y-%m-%d-%H%M")  # names the row files of this call

Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A model and its global batch, in the words of the config keys."""

    name: str
    architecture: str  # gpt2 or llama
    n_layers: int
    n_heads: int
    n_kv_heads: int
    dim: int
    mlp_dim: int
    vocab_size: int
    seq_len: int
    batch_rows: int
    tied: bool = True

    @property
    def tokens_per_step(self) -> int:
        return self.batch_rows * self.seq_len

    @property
    def n_parameters(self) -> int:
        """Matrices only, positions left out, a tied matrix once."""
        head_dim = self.dim // self.n_heads
        attention = self.dim * head_dim * (2 * self.n_heads + 2 * self.n_kv_heads)
        mlp = self.dim * self.mlp_dim * (3 if self.architecture == "llama" else 2)
        return self.n_layers * (attention + mlp) + self.dim * self.vocab_size * (1 if self.tied else 2)

    @property
    def flops_per_token(self) -> float:
        """6 N + 12 L C T, N with the head once and without the embedding table where the two are not tied."""
        table = 0 if self.tied else self.dim * self.vocab_size
        return 6 * (self.n_parameters - table) + 12 * self.n_layers * self.dim * self.seq_len


@dataclass(frozen=True)
class Setting:
    """Where and how all contestants run."""

    device: str
    threads: int
    warmup: int
    window: int
    windows: int
    work: Path
    timeout_s: float = 900


@dataclass(frozen=True)
class Contestant:
    """One program to be timed: the arguments after `steptime.py ... --`."""

    name: str
    program: list[str] = field(default_factory=list)


def bigtrain(
    shape: Shape,
    setting: Setting,
    data: Path,
    *,
    precision: str = "bf16",
    compile: bool = True,
    extra: tuple[str, ...] = (),
) -> Contestant:
    """`bigtrain pretrain` on a prepared set."""
    model = {
        "architecture": shape.architecture,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "n_kv_heads": shape.n_kv_heads,
        "dim": shape.dim,
        "mlp_dim": shape.mlp_dim,
        "vocab_size": shape.vocab_size,
        "max_seq_len": shape.seq_len,
        "tied": str(shape.tied).lower(),
    }
    program = ["-m", "bigtrain", "pretrain", "model=tiny", *(f"model.{key}={value}" for key, value in model.items())]
    program += [f"data.path={data}", "tokenizer=auto", "optimizer=adamw", "optimizer.lr=6e-4"]
    program += [
        f"train.batch_rows={shape.batch_rows}",
        f"train.micro_batch_rows={shape.batch_rows}",
        f"train.seq_len={shape.seq_len}",
    ]
    program += [
        "train.max_steps=100000",
        "train.eval_every_steps=null",
        "train.save_every_steps=null",
        "train.log_every_steps=10",
    ]
    program += [f"device={setting.device}", f"device.precision={precision}", f"device.compile={str(compile).lower()}"]
    program += [f"parallel.threads={setting.threads}", "train.batch_tokens=null", *extra]
    return Contestant("bigtrain", program)


def script(
    name: str, shape: Shape, setting: Setting, ids: Path, *, precision: str = "bf16", compile: bool = True
) -> Contestant:
    """`plain_gpt` or `hf_trainer`: the two share their arguments."""
    program = [
        str(HERE / f"{name}.py"),
        "--data",
        str(ids),
        "--architecture",
        shape.architecture,
        "--device",
        setting.device,
    ]
    numbers = {
        "layers": shape.n_layers,
        "heads": shape.n_heads,
        "kv-heads": shape.n_kv_heads,
        "dim": shape.dim,
        "mlp-dim": shape.mlp_dim,
        "vocab": shape.vocab_size,
        "seq-len": shape.seq_len,
        "rows": shape.batch_rows,
    }
    for key, value in numbers.items():
        program += [f"--{key}", str(value)]
    program += ["--precision", precision, *(["--compile"] if compile else []), *([] if shape.tied else ["--untied"])]
    return Contestant(name, program)


def environment(setting: Setting, contestant: Contestant) -> dict[str, str]:
    """Threads, no network, and a compile cache of the contestant's own: cold in its first round, warm after it."""
    paths = [str(ROOT), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(setting.threads),
        "MKL_NUM_THREADS": str(setting.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(setting.work / "compiled" / contestant.name),
        "BIGTRAIN_CACHE": str(setting.work / "cache"),
    }


def measure(contestant: Contestant, shape: Shape, setting: Setting) -> Row:
    """One timed run in a process of its own. Raises RuntimeError with the end of its output when it gives no figure."""
    command = [sys.executable, str(HERE / "steptime.py"), "--tokens-per-step", str(shape.tokens_per_step)]
    for key in ("warmup", "window", "windows"):
        command += [f"--{key}", str(getattr(setting, key))]
    command += ["--started", str(time.time()), "--", *contestant.program]
    env = environment(setting, contestant)
    done = subprocess.run(command, cwd=setting.work, env=env, capture_output=True, text=True, timeout=setting.timeout_s)
    for line in done.stdout.splitlines():
        if line.startswith("STEPTIME "):
            return dict(json.loads(line.removeprefix("STEPTIME ")))
    raise RuntimeError(
        f"{contestant.name} gave no figure:\n{shlex.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    )


def hold(contestants: list[Contestant], shape: Shape, setting: Setting, rounds: int) -> dict[str, list[Row]]:
    """Every contestant once a round, each round beginning with another one. One that fails is out, and it is said."""
    results: dict[str, list[Row]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        turn = number % len(contestants)
        for contestant in contestants[turn:] + contestants[:turn]:
            if contestant.name not in results:
                continue
            try:
                row = measure(contestant, shape, setting)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(error, file=sys.stderr, flush=True)
                del results[contestant.name]
                continue
            results[contestant.name].append(row)
            print(f"  round {number + 1} {contestant.name}: {json.dumps(row)}", file=sys.stderr, flush=True)
    return results


def summary(results: dict[str, list[Row]], clock: str) -> dict[str, Row]:
    """Medians over rounds of each run's median; the first step cold (round 1) and warm (the fastest later round)."""
    table: dict[str, Row] = {}
    for name, rows in results.items():
        rates = [row[clock]["median"] for row in rows]
        first = [row["first_step"] for row in rows]
        table[name] = {
            clock: round(statistics.median(rates), 1),
            "lowest": min(rates),
            "highest": max(rates),
            "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
            "first_step_cold_s": first[0]["wall_s"],
            "first_step_cold_cpu_s": first[0]["cpu_s"],
            "first_step_warm_s": min((row["wall_s"] for row in first[1:]), default=None),
            "first_step_warm_cpu_s": min((row["cpu_s"] for row in first[1:]), default=None),
        }
    for row in table.values():
        row["ratio_of_first"] = round(next(iter(table.values()))[clock] / row[clock], 3)
    return table


def markdown(table: dict[str, Row]) -> str:
    """One table line per contestant."""
    if not table:
        return "no contestant gave a figure"
    columns = list(next(iter(table.values())))
    lines = [f"| contestant | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join('' if row[c] is None else str(row[c]) for c in columns)} |"
        for name, row in table.items()
    ]
    return "\n".join(lines)


def prepared(shape: Shape, work: Path) -> tuple[Path, Path]:
    """Random words with Zipf's frequencies: a prepared set for bigtrain, the same ids as uint16 for the others."""
    import numpy as np

    from bigtrain.data.pipeline import prepare
    from bigtrain.data.schema import DataConfig, WordsConfig

    n_words = min(shape.vocab_size, 50_257) - 2
    folder, text, ids = work / f"zipf-{n_words}", work / f"zipf-{n_words}.jsonl", work / f"zipf-{n_words}.bin"
    if not ids.exists():
        draws = np.minimum(np.random.default_rng(0).zipf(1.2, 2_000_000), n_words)
        documents = (" ".join(f"w{word}" for word in part) for part in np.array_split(draws, 1000))
        text.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
        prepared_set = prepare(DataConfig(files=[str(text)]), WordsConfig(vocab_size=n_words + 2), folder)
        np.asarray(prepared_set.split("train").tokens, dtype=np.uint16).tofile(ids)
    return folder, ids


def verb(setting: Setting, *words: str) -> dict[str, object]:
    """A verb of bigtrain in a process of its own; what it prints as JSON."""
    command = [sys.executable, "-m", "bigtrain", *words, "--json", "-q"]
    env = environment(setting, Contestant("bigtrain"))
    done = subprocess.run(command, cwd=setting.work, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout))


def run_trainer(setting: Setting, command: list[str]) -> None:
    """The Trainer's script with its words, to its end."""
    env = environment(setting, Contestant("trainer"))
    subprocess.run([sys.executable, *command], cwd=setting.work, env=env, check=True, capture_output=True)


def adamw(rate: float, warmup: int) -> list[str]:
    """The words for what the Trainer does: AdamW as it has it, and a linear schedule."""
    words = ["optimizer=adamw", "optimizer.betas=[0.9,0.999]", "optimizer.eps=1e-8", "optimizer.weight_decay=0.01"]
    words += [f"optimizer.lr={rate}", "schedule=linear", f"schedule.warmup_steps={warmup}", "train.clip_norm=1.0"]
    return words


def seed_table(columns: list[str], rows: list[list[float]], digits: int) -> str:
    """A row for each seed, the means, and the deviations of two seeds or more."""

    def line(name: object, values: Iterable[float]) -> str:
        return f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in values)} |"

    lines = [f"| seed | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [line(number, row) for number, row in enumerate(rows)]
    lines.append(line("mean", map(statistics.mean, zip(*rows, strict=True))))
    if len(rows) > 1:
        lines.append(line("deviation", map(statistics.stdev, zip(*rows, strict=True))))
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """What a figure depends on, as far as this process can see it."""
    import torch

    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": str(os.cpu_count()),
    }
    for package in ("torch", "transformers", "accelerate", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if commit.returncode == 0:
        found["commit"] = commit.stdout.strip()
    return found


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(folder: Path, name: str, row: Row, text: str) -> None:
    """`<date>-<time>-<name>.json` with every figure, and the table beside it as markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{STARTED}-{name}"
    command = shlex.join(["python", *sys.argv])
    whole = {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "command": command, "versions": versions(), **row}
    stem.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    facts = ", ".join(f"{key} {value}" for key, value in whole["versions"].items())
    stem.with_suffix(".md").write_text(f"# {name}\n\n{whole['date']}, `{command}`\n\n{facts}\n\n{text}\n")
    print(f"wrote {stem}.json and .md", file=sys.stderr)


def record(shape: Shape, setting: Setting, results: dict[str, list[Row]], table: dict[str, Row]) -> Row:
    """What a row file holds of one contest."""
    where = {key: value for key, value in asdict(setting).items() if key not in ("work", "timeout_s")}
    return {
        "shape": asdict(shape),
        "flops_per_token": shape.flops_per_token,
        "setting": where,
        "summary": table,
        "runs": results,
    }


def add_common(parser: argparse.ArgumentParser, *, rounds: int, work: str) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help="times that every contestant runs")
    parser.add_argument("--work", type=Path, default=Path(work), help="scratch folder: data, compile caches, runs")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the row files")
