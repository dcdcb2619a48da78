"""Tiny Shakespeare, side by side: nanoGPT's CPU set-up as a plain loop, `bigtrain pretrain recipe=shakespeare_char`.

    .venv/bin/python scripts/bench_shakespeare.py path/to/input.txt --seeds 3

Both: 4 layers, 4 heads, 128 wide, rows of 64 characters, 12 rows a step, the last 10 % of the text held out. The plain
loop takes nanoGPT's 2,000 steps of AdamW (1e-3, cosine to 1e-4, 100 steps of warm-up, beta2 0.99, no dropout), the
recipe its own. Losses are over the whole held-out part, in windows that do not overlap. Times are of whole processes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import contest
from bench.contest import HERE, ROOT, Row


def timed(command: list[str], work: Path, threads: int) -> tuple[str, Row]:
    """Standard output of a process, and what it took."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "BIGTRAIN_CACHE": str(work / "cache")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=work, env=env, stdout=subprocess.PIPE, text=True, check=False)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    if done.returncode:
        sys.exit(f"exit code {done.returncode}: {' '.join(command)}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def plain(text: Path, work: Path, seed: int, threads: int) -> Row:
    """nanoGPT's recipe."""
    import numpy as np

    characters = text.read_text(encoding="utf-8")
    index = {character: number for number, character in enumerate(sorted(set(characters)))}
    ids = np.array([index[character] for character in characters], dtype=np.uint16)
    cut = int(len(ids) * 0.9)
    ids[:cut].tofile(work / "train.bin")
    ids[cut:].tofile(work / "validation.bin")
    shape = {"layers": 4, "heads": 4, "dim": 128, "vocab": len(index), "seq-len": 64, "rows": 12}
    recipe = {
        "steps": 2000,
        "warmup": 100,
        "lr": 1e-3,
        "min-lr": 1e-4,
        "beta2": 0.99,
        "precision": "fp32",
        "seed": seed,
    }
    command = [sys.executable, str(HERE / "plain_gpt.py"), "--data", "train.bin", "--validation", "validation.bin"]
    for key, value in (shape | recipe).items():
        command += [f"--{key}", str(value)]
    output, took = timed(command, work, threads)
    result = json.loads(output.split("RESULT ")[-1])
    return {
        "seed": seed,
        "steps": recipe["steps"],
        "val_loss": result["val_loss"],
        "parameters": result["parameters"],
        **took,
    }


def bigtrain(text: Path, work: Path, seed: int, threads: int, overrides: list[str]) -> Row:
    """The packaged recipe."""
    run = work / f"bigtrain-{seed}-{time.time_ns()}"
    command = [
        sys.executable,
        "-m",
        "bigtrain",
        "pretrain",
        "recipe=shakespeare_char",
        f"data.files={text}",
        f"seed={seed}",
    ]
    command += [f"run.dir={run}", f"parallel.threads={threads}", "train.eval_tokens=null", *overrides]
    _, took = timed(command, work, threads)
    result = json.loads((run / "result.json").read_text())
    return {
        "seed": seed,
        "steps": result["step"],
        "val_loss": result["val_loss"],
        "parameters": result["parameters"],
        **took,
    }


def mean(rows: list[Row]) -> Row:
    return {
        key: round(statistics.fmean(row[key] for row in rows), 4)
        for key in ("steps", "val_loss", "parameters", "wall_s", "cpu_s")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="tiny Shakespeare's input.txt")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for bigtrain, after the recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--write", action="store_true", help="write a row file")
    options = parser.parse_args()

    rows: dict[str, list[Row]] = {"plain": [], "bigtrain": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1337, 1337 + options.seeds):
            rows["plain"].append(plain(options.text.resolve(), Path(folder), seed, options.threads))
            rows["bigtrain"].append(
                bigtrain(options.text.resolve(), Path(folder), seed, options.threads, options.overrides)
            )
            print(json.dumps({name: found[-1] for name, found in rows.items()}), file=sys.stderr, flush=True)
    table = {name: mean(found) for name, found in rows.items()}
    ratios = {key: round(table["plain"][key] / table["bigtrain"][key], 3) for key in ("steps", "wall_s", "cpu_s")}
    text = contest.markdown(table) + f"\n\nplain / bigtrain: {ratios}"
    print(text)
    if options.write:
        contest.write(options.results, "shakespeare", {"summary": table, "ratios": ratios, "runs": rows}, text)


if __name__ == "__main__":
    main()
