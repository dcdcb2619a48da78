"""Training speed of an adapter on CPU: bigtrain, and transformers with PEFT, alternating, on the CPU clock.

    .venv/bin/python scripts/bench_adapters.py --rounds 7

A Llama of 4 layers, 256 wide, vocabulary 8,192, rows of 256 tokens, 8 rows a step; LoRA of rank 8 on every linear layer
of the blocks; AdamW with clipping; weights, A and rows are the same, and so is the loss (printed). Both sides in the
same precision, and each as it is and compiled (`torch.compile` of our blocks and loss; of their model).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from bigtrain.data.schema import BytesConfig
from bigtrain.models.adapter_folder import digest
from bigtrain.models.adapter_schema import DoraConfig, LoraConfig
from bigtrain.models.adapters import Adapter, adapt
from bigtrain.models.base import Model, materialise
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import materialise_from, save_model
from bigtrain.models.schema import DecoderConfig
from bigtrain.objectives.causal import Causal
from bigtrain.parallel.apply import apply
from bigtrain.tokenizer import Tokenizer, train
from bigtrain.training.schema import AdamWConfig

SHAPE = DecoderConfig(dim=256, n_layers=4, n_heads=4, vocab_size=8192, max_seq_len=256)
ROWS, TOKENS, LR = 8, 256, 1e-3
CONTESTANTS = ("bigtrain", "peft", "bigtrain-compiled", "peft-compiled")
Step = Callable[[torch.Tensor], float]


def ours(base: Path, config: LoraConfig, *, bf16: bool, compiled: bool) -> tuple[Model, Step]:
    """The model of a folder with an adapter, and one step of its training on rows (B, T + 1)."""
    model = on_meta(SHAPE.resolved(0))
    adapt(model, Adapter(config, base, digest(base), frozenset()))
    materialise_from(base, model, torch.device("cpu"), 0)
    optimizer = AdamWConfig(lr=LR, weight_decay=0.0).build(model)
    apply(model, compile=compiled)
    objective = Causal(compile=compiled)

    def step(rows: torch.Tensor) -> float:
        batch = {"tokens": rows[:, :-1], "targets": rows[:, 1:]}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objective(model, batch) / objective.weight(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return model, step


def theirs(base: Path, adapter: Path, *, bf16: bool, compiled: bool) -> Step:
    """The same in transformers and PEFT."""
    import peft
    import transformers

    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(plain, adapter, is_trainable=True).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    forward = torch.compile(model) if compiled else model

    def step(rows: torch.Tensor) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            targets = rows[:, 1:].contiguous()
            loss = forward(rows[:, :-1], labels=targets, shift_labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--dora", action="store_true")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = DoraConfig() if options.dora else LoraConfig()
    with tempfile.TemporaryDirectory() as work:
        base, adapter = Path(work, "base"), Path(work, "adapter")
        tokenizer: Tokenizer = train(BytesConfig(), [])
        for folder in (base, adapter):
            folder.mkdir()
        save_model(base, materialise(on_meta(SHAPE.resolved(0)), torch.device("cpu"), 0), tokenizer)
        steps: dict[str, Step] = {}
        for compiled in (False, True):
            mark = "-compiled" if compiled else ""
            model, steps[f"bigtrain{mark}"] = ours(base, config, bf16=options.bf16, compiled=compiled)
            save_model(adapter, model, tokenizer)
            steps[f"peft{mark}"] = theirs(base, adapter, bf16=options.bf16, compiled=compiled)
        steps = {name: step for name, step in steps.items() if name in options.contestants}
        contest(steps, options.rounds, options.steps)


def contest(steps: dict[str, Step], rounds: int, n_steps: int) -> None:
    """Rounds in turn, each contestant on the same rows; tokens per second of the CPU clock, medians."""
    draw = torch.Generator().manual_seed(0)
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):  # the first is a warm-up
        rows = torch.randint(0, 8192, (n_steps, ROWS, TOKENS + 1), generator=draw)
        for name, step in steps.items():
            began = time.process_time()
            losses = [step(one) for one in rows]
            if number:
                rates[name].append(n_steps * ROWS * TOKENS / (time.process_time() - began))
            print(f"round {number}  {name:20} last loss {losses[-1]:.6f}", flush=True)
    first = median(rates["peft"])
    for name, found in rates.items():
        print(f"{name:20} {median(found):8.0f} tokens/CPU s  (from {min(found):.0f} to {max(found):.0f})", end="")
        print(f"  {median(found) / first:.2f} x peft")


if __name__ == "__main__":
    main()
