"""Generation speed against transformers' `generate`: the same GPT-2 weights (random), greedy, side by side in one run.

    python scripts/bench_generate.py                 # batch 1 and 16, bf16 and fp32, and 500 prompts of many lengths
    python scripts/bench_generate.py --tiny          # seconds: whether the script works
    python scripts/bench_generate.py --only files    # one part: batch or files

Rounds alternate between the two. Wall and process CPU time; medians. `same` counts the rows whose ids agree: in bf16
roundings differ, and with random weights likely tokens are close.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.filterwarnings("ignore")

import torch  # noqa: E402

from bigtrain.generation.generate import Request, Writing, write  # noqa: E402
from bigtrain.generation.packing import pack  # noqa: E402
from bigtrain.generation.sampling import Sampling  # noqa: E402
from bigtrain.models.huggingface import load_model  # noqa: E402
from bigtrain.tokenizer import Tokenizer  # noqa: E402

Rows = list[list[int]]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def words(vocab_size: int) -> Tokenizer:
    """A tokenizer without an end of text: every row gets all its tokens."""
    vocab = {f"w{id_}": id_ for id_ in range(vocab_size)}
    return Tokenizer(
        {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}}
    )


def hf(folder: Path, dtype: torch.dtype, batch: int) -> Callable[[Rows, int], Rows]:
    """transformers, rows in the order given, each batch padded on the left to its longest."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def run(prompts: Rows, new: int) -> Rows:
        out: Rows = []
        for begin in range(0, len(prompts), batch):
            rows = prompts[begin : begin + batch]
            longest = max(map(len, rows))
            ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            done = model.generate(
                ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0
            )
            out += done[:, longest:].tolist()
        return out

    return run


def bigtrain(folder: Path, dtype: torch.dtype, batch: int, tokenizer: Tokenizer) -> Callable[[Rows, int], Rows]:
    model = pack(load_model(folder), dtype, one_row=batch == 1)

    def run(prompts: Rows, new: int) -> Rows:
        writing = Writing(new, Sampling(temperature=0), batch_size=batch)
        done = write(model, [Request(p, n) for n, p in enumerate(prompts)], tokenizer, writing)
        tokens = {request.number: completion.tokens for request, completion in done}
        return [tokens[number] for number in range(len(prompts))]

    return run


def contest(
    name: str, contestants: dict[str, Callable[[Rows, int], Rows]], prompts: Rows, new: int, rounds: int
) -> dict[str, Any]:
    """Tokens a second of each, by both clocks, and their ratio."""
    ids, wall, cpu = {}, {who: [] for who in contestants}, {who: [] for who in contestants}  # type: ignore[var-annotated]
    for run in contestants.values():
        run(prompts[:16], min(new, 8))  # warm
    for _ in range(rounds):
        for who, run in contestants.items():
            began, used = time.perf_counter(), time.process_time()
            ids[who] = run(prompts, new)
            wall[who].append(len(prompts) * new / (time.perf_counter() - began))
            cpu[who].append(len(prompts) * new / (time.process_time() - used))
    theirs, ours = ids.values()
    row: dict[str, Any] = {"what": name, "rows": len(prompts), "new": new, "threads": torch.get_num_threads()}
    for clock, rates in (("wall", wall), ("cpu", cpu)):
        medians = {who: statistics.median(rates[who]) for who in contestants}
        row |= {f"{clock}_{who}": round(median, 1) for who, median in medians.items()}
        row[f"{clock}_ratio"] = round(medians["bigtrain"] / medians["hf"], 2)
    row["same"] = f"{sum(a == b for a, b in zip(theirs, ours, strict=True))}/{len(prompts)}"
    print(json.dumps(row), flush=True)
    return row


def lengths(n: int, shortest: int, longest: int) -> list[int]:
    """Evenly spread over the orders of magnitude."""
    draw = random.Random(5)
    return [round(math.exp(draw.uniform(math.log(shortest), math.log(longest)))) for _ in range(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model and few tokens")
    parser.add_argument("--only", choices=["batch", "files"])
    parser.add_argument("--precision", choices=list(DTYPES), action="append", help="default: both; files: bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--new", type=int, default=64)
    arguments = parser.parse_args()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    vocab, dim, layers = (512, 64, 2) if arguments.tiny else (50304, 384, 6)
    new, n_prompts = (8, 40) if arguments.tiny else (arguments.new, arguments.prompts)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=vocab,
        n_positions=1024,
        n_embd=dim,
        n_layer=layers,
        n_head=dim // 64 or 1,
        bos_token_id=0,
        eos_token_id=None,
    )
    tokenizer, draw = words(vocab), random.Random(3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)

        def pair(dtype: str, batch: int) -> dict[str, Callable[[Rows, int], Rows]]:
            kind = DTYPES[dtype]
            return {"hf": hf(folder, kind, batch), "bigtrain": bigtrain(folder, kind, batch, tokenizer)}

        for dtype in arguments.precision or DTYPES:
            for batch in (1, 16):
                if arguments.only != "files":
                    prompts = [[draw.randrange(vocab) for _ in range(16)] for _ in range(batch)]
                    contest(f"batch {batch} {dtype}", pair(dtype, batch), prompts, new, arguments.rounds)
        if arguments.only != "batch":
            many = [[draw.randrange(vocab) for _ in range(n)] for n in lengths(n_prompts, 4, 900)]
            for dtype in arguments.precision or ["bf16"]:
                contest(f"many lengths, batch 16 {dtype}", pair(dtype, 16), many, new, 1)


if __name__ == "__main__":
    main()
