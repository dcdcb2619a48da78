"""One command for a machine with a CUDA device: the tests marked `gpu`, then tokens/s, MFU and memory side by side.

    python scripts/bench_gpu.py                          installed, or with PYTHONPATH=. from the checkout
    python scripts/bench_gpu.py --device cpu --tiny      checks the script itself, under two minutes

GPT-2 124M and a Llama shape of 1B, bf16, compiled: bigtrain, a plain PyTorch loop (compiled, fused AdamW, SDPA) and
transformers' Trainer, alternating. MFU is against the bf16 matrix product measured on the same card in the same call.
Writes a row file (JSON, and a table in markdown) to `--results`.
"""

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from bench import contest
from bench.contest import ROOT

# name, architecture, layers, heads, key/value heads, width, MLP width, vocabulary, tokens of a row, rows of a step
SHAPES = {
    "gpt2-124m": contest.Shape("gpt2-124m", "gpt2", 12, 12, 12, 768, 3072, 50304, 1024, 32),
    "llama-1b": contest.Shape("llama-1b", "llama", 16, 32, 8, 2048, 8192, 128256, 2048, 8),
}
TINY_SHAPES = {
    "gpt2-124m": contest.Shape("gpt2-tiny", "gpt2", 2, 4, 4, 64, 256, 512, 32, 4),
    "llama-1b": contest.Shape("llama-tiny", "llama", 2, 4, 2, 64, 192, 512, 32, 4),
}
CONTESTANTS = ("bigtrain", "plain", "trainer")


def gpu_tests() -> tuple[bool, str]:
    """Whether the tests marked `gpu` passed, and pytest's closing line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(ROOT / "tests")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = done.returncode in (0, 5)  # 5: no test is marked
    closing = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    print(closing if passed else done.stdout[-6000:] + done.stderr[-2000:], file=sys.stderr)
    return passed, closing


def matmul_tflops(device: str, n: int) -> float:
    """In a process of its own, so that no memory of the card stays taken."""
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "matmul.py"), device, str(n)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compete(shape: contest.Shape, setting: contest.Setting, options: argparse.Namespace) -> contest.Row:
    """One shape: every contestant, then the share of the card's own matrix product."""
    data, ids = contest.prepared(shape, setting.work)
    compiled = not options.no_compile
    entrants = {
        "bigtrain": contest.bigtrain(shape, setting, data, compile=compiled),
        "plain": contest.script("plain_gpt", shape, setting, ids, compile=compiled),
        "trainer": contest.script("hf_trainer", shape, setting, ids, compile=compiled),
    }
    chosen = [dataclasses.replace(entrants[name], name=name) for name in options.contestants]
    print(f"{shape.name}: {shape.n_parameters / 1e6:.0f} M parameters", file=sys.stderr)
    results = contest.hold(chosen, shape, setting, options.rounds)
    table = contest.summary(results, "tokens_per_s")
    tflops = matmul_tflops(options.device, 256 if options.tiny else 8192)
    for row in table.values():
        row["mfu"] = round(row["tokens_per_s"] * shape.flops_per_token / (tflops * 1e12), 4)
    return {**contest.record(shape, setting, results, table), "matmul_tflops": round(tflops, 3)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    contest.add_common(parser, rounds=3, work=str(Path(tempfile.gettempdir()) / "bigtrain-bench"))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--batch-rows", type=int, help="rows of a step, instead of the shape's own")
    parser.add_argument("--seq-len", type=int, help="tokens of a row, instead of the shape's own")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-tests", action="store_true", help="leave out the tests marked gpu")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, one round, not compiled")
    options = parser.parse_args()
    if options.tiny:
        options.rounds, options.no_compile = 1, True
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here; --device cpu --tiny checks the script")
    return options


def main() -> None:
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    steps = {"warmup": 3, "window": 2, "windows": 2} if options.tiny else {"warmup": 12, "window": 10, "windows": 4}
    setting = contest.Setting(options.device, threads=1 if options.tiny else 8, work=options.work.resolve(), **steps)
    changes = {key: value for key in ("batch_rows", "seq_len") if (value := getattr(options, key))}
    shapes = TINY_SHAPES if options.tiny else SHAPES

    complete, closing = (True, "left out") if options.no_tests else gpu_tests()
    row: contest.Row = {"gpu_tests": closing, "contests": []}
    text = f"Tests marked gpu: {closing}\n"
    for name in options.shapes:
        shape = dataclasses.replace(shapes[name], **changes)
        result = compete(shape, setting, options)
        complete &= len(result["summary"]) == len(options.contestants)
        row["contests"].append(result)
        text += f"\n## {shape.name}\n\nbf16 matrix product: {result['matmul_tflops']} TFLOP/s\n\n"
        text += contest.markdown(result["summary"]) + "\n"
        # After each shape, so that what a time limit cuts off is only the rest.
        contest.write(options.results, f"train-{options.device}{'-tiny' if options.tiny else ''}", row, text)
    print(text)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
