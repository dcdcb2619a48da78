"""Training speed on CPU: bigtrain, a plain PyTorch loop and transformers' Trainer, alternating, on the CPU clock.

    .venv/bin/python -m pip install -e '.[bench]'        once: the Trainer needs accelerate
    .venv/bin/python scripts/bench_train.py --rounds 7

6 layers, 384 wide, vocabulary 50,304, rows of 256 tokens, 12 rows a step; every contestant clips. On a machine that
other work shares, keep `--threads 1 --clock cpu`; on a quiet one `--threads 2 --clock wall` is what a user sees.
`bigtrain-fp32-fast` against `plain-fp32` (fp32, eager) shows `device.fp32_matmul=fast`. `--write` keeps a row file.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from bench import contest

SHAPE = contest.Shape(
    name="gpt-6x384",
    architecture="gpt2",
    n_layers=6,
    n_heads=6,
    n_kv_heads=6,
    dim=384,
    mlp_dim=1536,
    vocab_size=50304,
    seq_len=256,
    batch_rows=12,
)
TINY = dataclasses.replace(
    SHAPE, name="tiny", n_layers=2, n_heads=2, n_kv_heads=2, dim=64, mlp_dim=256, vocab_size=1024, seq_len=64
)
CLOCKS = {"cpu": "tokens_per_cpu_s", "wall": "tokens_per_s"}


def contestant(name: str, shape: contest.Shape, setting: contest.Setting) -> contest.Contestant:
    """One of CONTESTANTS by its name."""
    data, ids = contest.prepared(shape, setting.work)
    match name:
        case "bigtrain":
            found = contest.bigtrain(shape, setting, data)
        case "bigtrain-fp32-fast":
            found = contest.bigtrain(shape, setting, data, precision="fp32", extra=("device.fp32_matmul=fast",))
        case "plain":
            found = contest.script("plain_gpt", shape, setting, ids)
        case "plain-fp32":
            found = contest.script("plain_gpt", shape, setting, ids, precision="fp32", compile=False)
        case _:
            found = contest.script("hf_trainer", shape, setting, ids)
    return dataclasses.replace(found, name=name)


CONTESTANTS = ("bigtrain", "plain", "trainer", "bigtrain-fp32-fast", "plain-fp32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    contest.add_common(parser, rounds=7, work=str(Path(tempfile.gettempdir()) / "bigtrain-bench"))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS[:3])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12, help="timed steps of a run")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, to check the script itself")
    parser.add_argument("--write", action="store_true", help="write a row file")
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    shape = TINY if options.tiny else SHAPE
    setting = contest.Setting("cpu", options.threads, options.warmup, 1, options.steps, options.work.resolve())
    entrants = [contestant(name, shape, setting) for name in options.contestants]
    results = contest.hold(entrants, shape, setting, options.rounds)
    table = contest.summary(results, CLOCKS[options.clock])
    print(contest.markdown(table))
    if options.write:
        name = f"train-cpu-{shape.name}"
        contest.write(options.results, name, contest.record(shape, setting, results, table), contest.markdown(table))


if __name__ == "__main__":
    main()
