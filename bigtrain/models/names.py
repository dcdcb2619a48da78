"""Names of tensors in Hugging Face files, one table per architecture, read in both directions.

An entry may join several of our matrices into one of theirs (GPT-2's `c_attn` is q, k, v on top of each other), and may
hold it transposed (GPT-2's `Conv1D` keeps (in, out) where a linear layer keeps (out, in)).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.models.schema import Architecture, DecoderConfig


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, and ours that it holds, joined along the first dim."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False

    def join(self, parts: list[Tensor]) -> Tensor:
        """Ours -> theirs."""
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        return joined.T if self.transposed else joined

    def split(self, tensor: Tensor, lengths: list[int]) -> tuple[Tensor, ...]:
        """Theirs -> ours, of these lengths along the first dim."""
        parts: tuple[Tensor, ...] = (tensor.T if self.transposed else tensor).split(lengths)
        return parts

    def shape(self, shapes: list[torch.Size]) -> list[int]:
        """The shape of theirs from the shapes of ours."""
        joined = [sum(shape[0] for shape in shapes), *shapes[0][1:]]
        return joined[::-1] if self.transposed else joined


_LLAMA = {
    "embedding.weight": "model.embed_tokens.weight",
    "blocks.{}.attention_norm.weight": "model.layers.{}.input_layernorm.weight",
    "blocks.{}.attention.q.weight": "model.layers.{}.self_attn.q_proj.weight",
    "blocks.{}.attention.k.weight": "model.layers.{}.self_attn.k_proj.weight",
    "blocks.{}.attention.v.weight": "model.layers.{}.self_attn.v_proj.weight",
    "blocks.{}.attention.o.weight": "model.layers.{}.self_attn.o_proj.weight",
    "blocks.{}.mlp_norm.weight": "model.layers.{}.post_attention_layernorm.weight",
    "blocks.{}.mlp.gate.weight": "model.layers.{}.mlp.gate_proj.weight",
    "blocks.{}.mlp.up.weight": "model.layers.{}.mlp.up_proj.weight",
    "blocks.{}.mlp.down.weight": "model.layers.{}.mlp.down_proj.weight",
    "norm.weight": "model.norm.weight",
}
_QWEN2 = _LLAMA | {
    f"blocks.{{}}.attention.{part}.bias": f"model.layers.{{}}.self_attn.{part}_proj.bias" for part in "qkv"
}
_QWEN3 = _LLAMA | {
    "blocks.{}.attention.q_norm.weight": "model.layers.{}.self_attn.q_norm.weight",
    "blocks.{}.attention.k_norm.weight": "model.layers.{}.self_attn.k_norm.weight",
}
_GPT2_TABLES = {"embedding": "transformer.wte", "positions": "transformer.wpe"}
_GPT2_NORMS = {
    "blocks.{}.attention_norm": "transformer.h.{}.ln_1",
    "blocks.{}.mlp_norm": "transformer.h.{}.ln_2",
    "norm": "transformer.ln_f",
}
_GPT2_LINEARS = {
    ("attention.q", "attention.k", "attention.v"): "attn.c_attn",
    ("attention.o",): "attn.c_proj",
    ("mlp.up",): "mlp.c_fc",
    ("mlp.down",): "mlp.c_proj",
}


def _gpt2() -> list[Entry]:
    entries = [Entry(f"{theirs}.weight", (f"{ours}.weight",)) for ours, theirs in _GPT2_TABLES.items()]
    for kind in ("weight", "bias"):
        entries += [Entry(f"{theirs}.{kind}", (f"{ours}.{kind}",)) for ours, theirs in _GPT2_NORMS.items()]
        for parts, theirs in _GPT2_LINEARS.items():
            ours = tuple(f"blocks.{{}}.{part}.{kind}" for part in parts)
            entries.append(Entry(f"transformer.h.{{}}.{theirs}.{kind}", ours, transposed=kind == "weight"))
    return entries


def _alike(names: dict[str, str]) -> list[Entry]:
    return [Entry(theirs, (ours,)) for ours, theirs in names.items()]


_TABLES = {
    Architecture.gpt2: _gpt2(),
    Architecture.llama: _alike(_LLAMA),
    Architecture.mistral: _alike(_LLAMA),
    Architecture.qwen2: _alike(_QWEN2),
    Architecture.qwen3: _alike(_QWEN3),
}
_BACKBONE = dict.fromkeys(Architecture, "model.") | {Architecture.gpt2: "transformer."}
# These call the backbone of their question-answering models as GPT-2 does.
_BACKBONE_OF_SPANS = _BACKBONE | dict.fromkeys(
    (Architecture.llama, Architecture.qwen2, Architecture.qwen3), "transformer."
)
LM_HEAD = "lm_head.weight"
_HEADS = ("lm_head.", "score.", "classifier.", "qa_outputs.")  # beside the backbone: never with its prefix
# Constants that older versions of transformers saved: causal masks and rotary frequencies.
_CONSTANT = re.compile(r"(.*\.)?(attn\.(masked_)?bias|rotary_emb\.inv_freq)")


def _prefix(config: DecoderConfig, output: Output) -> str:
    return (_BACKBONE_OF_SPANS if output.kind is OutputKind.span else _BACKBONE)[config.architecture]


def _head(config: DecoderConfig, output: Output) -> list[Entry]:
    """The tensors of a head. A tied one has none."""
    if output.language:
        return [] if config.tied else [Entry(LM_HEAD, ("head.weight",))]
    if output.pooled:
        return [Entry("score.weight", ("head.weight",))]
    name = "qa_outputs"
    if output.kind is OutputKind.tags:
        name = "classifier" if config.architecture is Architecture.gpt2 else "score"
    return [Entry(f"{name}.{kind}", (f"head.{kind}",)) for kind in ("weight", "bias")]


def entries(config: DecoderConfig, output: Output) -> list[Entry]:
    """Every tensor of a model's file."""
    table = []
    for entry in _TABLES[config.architecture]:
        theirs = _prefix(config, output) + entry.theirs.removeprefix(_BACKBONE[config.architecture])
        numbers = range(config.n_layers) if "{}" in theirs else range(1)
        for n in numbers:
            ours = tuple(name.format(n) for name in entry.ours)
            table.append(Entry(theirs.format(n), ours, entry.transposed))
    return table + _head(config, output)


def full_names(names: Iterable[str], config: DecoderConfig, output: Output) -> dict[str, str]:
    """Full name, as a model with this output has it -> name as the file has it, for all but the constants.

    Files of a bare backbone, the original GPT-2's among them, leave its prefix out.
    """
    prefix = _prefix(config, output)
    names = [name for name in names if not _CONSTANT.fullmatch(name)]
    theirs = next((p for p in ("model.", "transformer.") if any(name.startswith(p) for name in names)), "")
    return {name if name.startswith(_HEADS) else prefix + name.removeprefix(theirs): name for name in names}


def new(config: DecoderConfig, output: Output, source: Output, found: Container[str]) -> set[str]:
    """Our parameters that a file of these full names does not give and that are drawn instead: a head of another kind.

    source: what the file's model gives.
    """
    if output.language or output.kind is source.kind:
        return set()
    return {name for entry in _head(config, output) for name in entry.ours}


def unused(config: DecoderConfig, output: Output, source: Output, found: Iterable[str]) -> set[str]:
    """Tensors of a file that this model has no use for: the head of another kind."""
    if output.language or output.kind is source.kind:
        return set()
    return {name for name in found if name.startswith(_HEADS)}


def copies(config: DecoderConfig) -> dict[str, str]:
    """Tensors that a file may hold twice: the copy -> the original."""
    embedding = next(e.theirs for e in entries(config, LANGUAGE) if e.ours == ("embedding.weight",))
    return {LM_HEAD: embedding} if config.tied else {}
