"""What the contestants that train with transformers' Trainer share: its words, and its settings like ours."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments


def parser(about: str | None, data: str) -> argparse.ArgumentParser:
    """The arguments that all of them have. data: what --data holds."""
    found = argparse.ArgumentParser(description=about)
    add = found.add_argument
    add("--data", type=Path, required=True, help=data)
    add("--seq-len", type=int, default=128)
    add("--rows", type=int, default=32)
    add("--steps", type=int, default=100_000)
    add("--warmup", type=int, default=0)
    add("--lr", type=float, required=True)
    add("--seed", type=int, default=0)
    add("--precision", choices=["fp32", "bf16"], default="fp32")
    add("--compile", action="store_true")
    add("--save", type=Path)
    return found


def train(o: argparse.Namespace, model: Any, rows: Any, collator: Any, **more: Any) -> None:
    """AdamW with a linear schedule and clipping, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=o.rows,
            max_steps=o.steps,
            seed=o.seed,
            use_cpu=True,
            bf16=o.precision == "bf16",
            torch_compile=o.compile,
            optim="adamw_torch_fused",
            learning_rate=o.lr,
            lr_scheduler_type="linear",
            warmup_steps=o.warmup,
            weight_decay=0.01,
            max_grad_norm=1.0,
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
            **more,
        )
        Trainer(model=model, args=settings, train_dataset=rows, data_collator=collator).train()
