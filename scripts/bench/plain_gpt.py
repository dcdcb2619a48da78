"""The yardstick of the benchmarks: a small decoder and a training loop in plain PyTorch, as fast as that goes.

GPT-2's shape (LayerNorm, learned positions, GELU, no biases) or Llama's (RMSNorm, rotary positions, SwiGLU, grouped
queries). One file, no options beyond the shape and the arithmetic. Ends with one line `RESULT {...}` when `--steps` are
done; under `steptime.py` it is ended earlier.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="token ids of the training text, uint16")
    add("--validation", type=Path, help="ids of a held-out text: its loss is measured after the last step")
    add("--architecture", choices=["gpt2", "llama"], default="gpt2")
    for name, default in (("layers", 6), ("heads", 6), ("kv-heads", 0), ("dim", 384), ("mlp-dim", 0), ("vocab", 50304)):
        add(f"--{name}", type=int, default=default)
    add("--untied", action="store_true")
    add("--seq-len", type=int, default=256)
    add("--rows", type=int, default=12)
    add("--steps", type=int, default=10**9)
    add("--warmup", type=int, default=100)
    add("--lr", type=float, default=6e-4)
    add("--min-lr", type=float, default=6e-5)
    add("--beta2", type=float, default=0.95)
    add("--weight-decay", type=float, default=0.1)
    add("--clip", type=float, default=1.0)
    add("--seed", type=int, default=1337)
    add("--device", default="cpu")
    add("--precision", choices=["fp32", "bf16"], default="bf16")
    add("--compile", action="store_true")
    options = parser.parse_args()
    options.kv_heads = options.kv_heads or options.heads
    options.mlp_dim = options.mlp_dim or 4 * options.dim
    return options


def norm(o: argparse.Namespace) -> nn.Module:
    return nn.RMSNorm(o.dim, eps=1e-5) if o.architecture == "llama" else nn.LayerNorm(o.dim, bias=False)


class Block(nn.Module):
    def __init__(self, o: argparse.Namespace) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = o.heads, o.kv_heads, o.dim // o.heads
        self.llama = o.architecture == "llama"
        self.norm1, self.norm2 = norm(o), norm(o)
        self.qkv = nn.Linear(o.dim, (o.heads + 2 * o.kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(o.dim, o.dim, bias=False)
        self.up = nn.Linear(o.dim, o.mlp_dim * (2 if self.llama else 1), bias=False)
        self.down = nn.Linear(o.mlp_dim, o.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n_rows, seq_len, dim = x.shape
        heads = self.qkv(self.norm1(x)).view(n_rows, seq_len, -1, self.head_dim).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if self.llama:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        grouped = self.kv_heads != self.heads
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        x = x + self.out(y.transpose(1, 2).reshape(n_rows, seq_len, dim))
        h = self.up(self.norm2(x))
        if self.llama:
            gate, h = h.chunk(2, dim=-1)
            h = F.silu(gate) * h
        else:
            h = F.gelu(h)
        out: Tensor = x + self.down(h)
        return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class GPT(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self, o: argparse.Namespace) -> None:
        super().__init__()
        llama, head_dim = o.architecture == "llama", o.dim // o.heads
        self.tokens = nn.Embedding(o.vocab, o.dim)
        self.positions = None if llama else nn.Embedding(o.seq_len, o.dim)
        self.blocks = nn.ModuleList(Block(o) for _ in range(o.layers))
        self.norm = norm(o)
        self.head = nn.Linear(o.dim, o.vocab, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * o.layers) if residual else 0.02)
        if not o.untied:
            self.head.weight = self.tokens.weight
        frequencies = 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.arange(o.seq_len)[:, None] * frequencies[None]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        seq_len = tokens.size(1)
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[:seq_len]
        for block in self.blocks:
            x = block(x, self.cos[:seq_len], self.sin[:seq_len])
        hidden: Tensor = self.norm(x)
        return hidden


def cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, head).float(), targets)


def load(ids: np.ndarray, starts: np.ndarray, o: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Inputs and targets of the rows that begin at `starts`, on the device."""
    rows = torch.from_numpy(ids[starts[:, None] + np.arange(o.seq_len + 1)].astype(np.int64))
    if o.device == "cuda":
        rows = rows.pin_memory().to("cuda", non_blocking=True)
    return rows[:, :-1], rows[:, 1:]


def learning_rate(step: int, o: argparse.Namespace) -> float:
    if step < o.warmup:
        return float(o.lr * (step + 1) / (o.warmup + 1))
    progress = min(1.0, (step - o.warmup) / max(1, o.steps - o.warmup))
    return float(o.min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (o.lr - o.min_lr))


def main() -> None:
    o = arguments()
    torch.manual_seed(o.seed)
    rng = np.random.default_rng(o.seed)
    model = GPT(o).to(o.device)
    network = torch.compile(model) if o.compile else model
    loss_of = torch.compile(cross_entropy) if o.compile else cross_entropy
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": o.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=o.lr, betas=(0.9, o.beta2), fused=o.device == "cuda" or o.precision == "bf16"
    )

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(o.device, torch.bfloat16, enabled=o.precision == "bf16"):
            return loss_of(network(tokens).flatten(0, 1), model.head.weight, targets.flatten())

    train = np.memmap(o.data, dtype=np.uint16, mode="r")
    began = time.perf_counter(), time.process_time()
    for step in range(o.steps):
        loss(*load(train, rng.integers(0, len(train) - o.seq_len - 1, o.rows), o)).backward()
        nn.utils.clip_grad_norm_(parameters, o.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, o)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    result = {"wall_s": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}
    if o.validation:
        held_out = np.memmap(o.validation, dtype=np.uint16, mode="r")
        starts = np.arange(0, len(held_out) - o.seq_len - 1, o.seq_len)
        with torch.no_grad():
            chunks = np.array_split(starts, max(1, len(starts) // 64))
            total = sum(loss(*load(held_out, chunk, o)).item() * len(chunk) for chunk in chunks)
        result["val_loss"] = total / len(starts)
    print("RESULT " + json.dumps({**result, "parameters": sum(p.numel() for p in parameters)}), flush=True)


if __name__ == "__main__":
    main()
