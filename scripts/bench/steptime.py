"""Time the optimizer steps of any Python training program from outside, without touching it, and end it when done.

    python steptime.py --tokens-per-step 3072 -- train.py --device=cpu
    python steptime.py --tokens-per-step 3072 -- -m package train key=value

A global post-step hook of torch's optimizers marks wall time and process CPU time. With OMP_NUM_THREADS=1 the CPU
figure is nearly immune to other load on the machine; the wall figure is what a user sees. On CUDA the device is waited
for at a mark only, so that a window of several steps keeps the program's own overlap of host and device.
One line `STEPTIME {...}` goes to standard output.
"""

import argparse
import itertools
import json
import os
import resource
import runpy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens-per-step", type=int, required=True)
    parser.add_argument(
        "--calls-per-step", type=int, default=1, help="optimizers that the program steps in one iteration"
    )
    parser.add_argument("--warmup", type=int, default=4, help="steps before the first mark")
    parser.add_argument("--window", type=int, default=1, help="steps between two marks")
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--started", type=float, default=time.time(), help="time.time() when the process was asked for")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="-- script.py ARGUMENTS, or -- -m module ARGUMENTS")
    return parser.parse_args()


def spread(rates: list[float]) -> dict[str, float]:
    return {"min": round(min(rates), 1), "median": round(statistics.median(rates), 1), "max": round(max(rates), 1)}


def timer(options: argparse.Namespace) -> Callable[..., None]:
    """The hook: counts steps, marks times, prints and ends the process after the last window."""
    calls = 0
    first: dict[str, float] = {}
    marks: list[tuple[float, float]] = []

    def hook(*_: Any) -> None:
        nonlocal calls
        calls += 1
        step, inside = divmod(calls, options.calls_per_step)
        if inside or (step > 1 and (step < options.warmup or (step - options.warmup) % options.window)):
            return
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        if step == 1:
            first.update(wall_s=round(time.time() - options.started, 2), cpu_s=round(time.process_time(), 2))
        if step < options.warmup:
            return
        marks.append((time.perf_counter(), time.process_time()))
        if len(marks) > options.windows:
            report(options, first, marks)

    return hook


def report(options: argparse.Namespace, first: dict[str, float], marks: list[tuple[float, float]]) -> None:
    tokens = options.tokens_per_step * options.window
    steps = list(itertools.pairwise(marks))
    result: dict[str, Any] = {
        "tokens_per_s": spread([tokens / (after[0] - before[0]) for before, after in steps]),
        "tokens_per_cpu_s": spread([tokens / (after[1] - before[1]) for before, after in steps]),
        "first_step": first,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if torch.cuda.is_initialized():
        result["peak_memory_mb"] = torch.cuda.max_memory_allocated() // 2**20
        result["reserved_memory_mb"] = torch.cuda.max_memory_reserved() // 2**20
    print("STEPTIME " + json.dumps(result), flush=True)
    os._exit(0)


def main() -> None:
    options = arguments()
    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    register_optimizer_step_post_hook(timer(options))
    if program[0] == "-m":
        sys.argv = program[1:]
        sys.path[0] = str(Path.cwd())  # as `python -m` has it
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        sys.path[0] = str(Path(program[0]).resolve().parent)
        runpy.run_path(program[0], run_name="__main__")
    sys.exit("the program ended before the last window")


if __name__ == "__main__":
    main()
