"""Contestant: transformers' Trainer on a new BertForMaskedLM with the shape and the tokenizer of a model folder.

Masks are drawn by its own collator. Under `steptime.py` it is timed; with --save it leaves its model.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--like", type=Path, required=True, help="a folder with config.json and a tokenizer")
    add("--data", type=Path, required=True, help="token ids, uint16")
    add("--seq-len", type=int, default=128)
    add("--rows", type=int, default=32)
    add("--steps", type=int, default=100_000)
    add("--warmup", type=int, default=0)
    add("--lr", type=float, default=1e-3)
    add("--seed", type=int, default=0)
    add("--precision", choices=["fp32", "bf16"], default="fp32")
    add("--compile", action="store_true")
    add("--save", type=Path)
    return parser.parse_args()


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Consecutive windows of the ids between [CLS] and [SEP]."""

    def __init__(self, path: Path, seq_len: int, before: int, after: int) -> None:
        self.ids, self.n = np.memmap(path, dtype=np.uint16, mode="r"), seq_len - 2
        self.before, self.after = before, after

    def __len__(self) -> int:
        return len(self.ids) // self.n

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = [self.before, *self.ids[index * self.n : (index + 1) * self.n].tolist(), self.after]
        return {"input_ids": torch.tensor(ids)}


def main() -> None:
    o = arguments()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(o.like)
    torch.manual_seed(o.seed)
    model = BertForMaskedLM(AutoConfig.from_pretrained(o.like))
    assert isinstance(tokenizer.cls_token_id, int)
    assert isinstance(tokenizer.sep_token_id, int)
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
        )
        windows = Windows(o.data, o.seq_len, tokenizer.cls_token_id, tokenizer.sep_token_id)
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
        Trainer(model=model, args=settings, train_dataset=windows, data_collator=collator).train()
    if o.save:
        model.save_pretrained(o.save)
        for file in o.like.glob("*token*.json"):
            shutil.copy(file, o.save)


if __name__ == "__main__":
    main()
