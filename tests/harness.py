"""Runs of bigtrain inside tests: in this process, in a forked child, or through the command line."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "tree",
    "house",
    "river",
    "sings",
    "runs",
    "sleeps",
    "under",
    "over",
    "near",
    "and",
    "while",
    "because",
    "green",
    "old",
    "small",
]
TIMES = {"seconds", "tokens_per_second", "mfu"}

# A model that trains in milliseconds a step. tests add data.path=, run.dir= and what they are about.
TINY = [
    "model.dim=32",
    "model.n_layers=2",
    "model.n_heads=2",
    "model.max_seq_len=32",
    "train.seq_len=32",
    "train.batch_rows=8",
    "train.eval_tokens=512",
    "train.log_every_steps=1",
    "schedule.warmup_steps=3",
    "device=cpu",
]


def text(n_words: int, seed: int = 0) -> str:
    """Sentences of a small language."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + (".\n" if draw.random() < 0.1 else "") for _ in range(n_words))


def run_verb(verb: str, overrides: Sequence[str]) -> dict:
    """The verb in this process; errors come out as exceptions."""
    import importlib

    from bigtrain.config import load

    return importlib.import_module(f"bigtrain.commands.{verb}").run(load(verb, list(overrides)))


def cli(
    *words: str, env: dict[str, str] | None = None, cwd: Path | None = None, **kwargs
) -> subprocess.CompletedProcess:
    """`python -m bigtrain WORDS` to its end."""
    return subprocess.run(
        command(*words), env={**environment(), **(env or {})}, cwd=cwd, capture_output=True, text=True, **kwargs
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "bigtrain", *map(str, words)]


def environment() -> dict[str, str]:
    """This environment, with the checkout importable from any folder."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def fork(verb: str, overrides: Sequence[str]) -> int:
    """Begin the verb in a forked child: torch is imported once for all of them. Returns its pid; it exits 0 or 1."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        run_verb(verb, overrides)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def kill_at_random(pid: int, seconds: float, draw: random.Random) -> bool:
    """kill -9 within `seconds`; whether it was still running."""
    time.sleep(draw.random() * seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def newest(run: Path) -> Path:
    return max(run.glob("checkpoints/step-????????"))


def bits(run: Path) -> dict[str, str]:
    """Digests of all that must be equal after any interruption: weights, optimizer, metrics without times."""
    checkpoint = newest(run)
    found = {"step": checkpoint.name}
    for pointer in ("latest", "best"):
        found[pointer] = (run / "checkpoints" / pointer).read_text()
    for file in [*checkpoint.glob("model/*.safetensors"), checkpoint / "state" / "optimizer.safetensors"]:
        digest = hashlib.sha256()
        for name, tensor in sorted(load_file(file).items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        found[file.name] = digest.hexdigest()
    found["metrics"] = hashlib.sha256(json.dumps(metrics(run)).encode()).hexdigest()
    return found


def task_sections(report: Path) -> dict[str, str]:
    """What a report has of a task beside what all have: the title of each section and its HTML."""
    found = re.findall(r"<section>\n<h2>(.*?)</h2>\n(.*?)\n</section>", report.read_text(encoding="utf-8"), re.DOTALL)
    common = {"Curves", "Validation", "Samples", "Result", "Config", "Environment"}
    return {title: content for title, content in found if title not in common}


def metrics(run: Path) -> list[dict]:
    """The lines of metrics.jsonl without times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]
