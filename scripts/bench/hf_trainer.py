"""Contestant: transformers' Trainer on a randomly initialised model of the same shape; run it under `steptime.py`."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="token ids, uint16")
    add("--architecture", choices=["gpt2", "llama"], default="gpt2")
    for name, default in (("layers", 6), ("heads", 6), ("kv-heads", 0), ("dim", 384), ("mlp-dim", 0), ("vocab", 50304)):
        add(f"--{name}", type=int, default=default)
    add("--untied", action="store_true")
    add("--seq-len", type=int, default=256)
    add("--rows", type=int, default=12)
    add("--device", default="cpu")
    add("--precision", choices=["fp32", "bf16"], default="bf16")
    add("--compile", action="store_true")
    return parser.parse_args()


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Consecutive rows of the ids."""

    def __init__(self, path: Path, seq_len: int) -> None:
        self.ids, self.seq_len = np.memmap(path, dtype=np.uint16, mode="r"), seq_len

    def __len__(self) -> int:
        return len(self.ids) // self.seq_len

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = torch.from_numpy(self.ids[index * self.seq_len : (index + 1) * self.seq_len].astype(np.int64))
        return {"input_ids": row, "labels": row}


def model(o: argparse.Namespace) -> PreTrainedModel:
    common: dict[str, Any] = {
        "vocab_size": o.vocab,
        "use_cache": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "tie_word_embeddings": not o.untied,
    }
    if o.architecture == "gpt2":
        no_dropout: dict[str, Any] = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
        return GPT2LMHeadModel(
            GPT2Config(n_positions=o.seq_len, n_embd=o.dim, n_layer=o.layers, n_head=o.heads, **no_dropout, **common)
        )
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=o.dim,
            intermediate_size=o.mlp_dim,
            num_hidden_layers=o.layers,
            num_attention_heads=o.heads,
            num_key_value_heads=o.kv_heads or o.heads,
            max_position_embeddings=o.seq_len,
            **common,
        )
    )


def main() -> None:
    o = arguments()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=o.rows,
            max_steps=100_000,
            use_cpu=o.device == "cpu",
            bf16=o.precision == "bf16",
            torch_compile=o.compile,
            optim="adamw_torch_fused",
            learning_rate=6e-4,
            max_grad_norm=1.0,
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
        )
        Trainer(model=model(o), args=settings, train_dataset=Rows(o.data, o.seq_len)).train()


if __name__ == "__main__":
    main()
