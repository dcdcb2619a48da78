"""Adapters in and out of PEFT's files, and a base with an adapter read as if it were one model's files.

A matrix of a file may hold several of ours (GPT-2's c_attn is q, k and v). What was trained on each of them apart is
one adapter on the joined matrix: A is theirs on top of each other, B has theirs along its diagonal, so its rank is
their sum and its scale stays what it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.models.adapter_folder import (
    BASE,
    CONFIG,
    PREFIX,
    TASKS,
    WEIGHTS,
    AdapterFolder,
    another_base,
    is_adapter,
    read_adapter,
)
from bigtrain.models.adapter_schema import LoraConfig
from bigtrain.models.adapters import AdaptedLinear, Adapter, adapted_layers, draw_adapters
from bigtrain.models.base import Model
from bigtrain.models.families import names_of
from bigtrain.models.huggingface_config import read_config
from bigtrain.models.names import Entry
from bigtrain.models.weight_files import WeightFiles, listed
from bigtrain.storage import write_json

_HEADS = ("cls", "lm_head", "classifier", "score", "qa_outputs")


class _Joined(NamedTuple):
    """A matrix of the file, and which of its parts carry an adapter: the part's first row, and its layer."""

    entry: Entry
    n_rows: int
    parts: list[tuple[int, AdaptedLinear]]

    @property
    def layer(self) -> str:
        return self.entry.theirs.removesuffix(".weight")


def _joined(model: Model) -> Iterator[_Joined]:
    adapted, shapes = adapted_layers(model), {name: p.shape for name, p in model.named_parameters()}
    for entry in names_of(model.config).entries(model.config, model.output):
        parts, row = [], 0
        for name in entry.ours:
            if layer := adapted.get(name.removesuffix(".weight")) if name.endswith(".weight") else None:
                parts.append((row, layer))
            row += shapes[name][0]
        if parts:
            yield _Joined(entry, row, parts)


# Reading -------------------------------------------------------------------------------------------------------------


class AdaptedFiles:
    """The files of a base and of an adapter on it as those of one model: what `WeightFiles` is for a plain folder.

    merged: matrices are read with the adapter in them; else as the base has them. Names are full ones.
    """

    def __init__(self, adapter: AdapterFolder, base: Path, model: Model, *, merged: bool) -> None:
        adapter.check_base(base)
        source, names = read_config(base), names_of(model.config)
        self._adapter, self._base, self._merged = adapter, WeightFiles(base), merged
        own = read_config(adapter.folder).output
        where = names.full_names(self._base.shapes, source.config, model.output)
        # The base's own head gives way where the adapter brings one of another kind.
        spare = names.unused(model.config, own, source.output, where) if own.kind is not source.output.kind else set()
        self._where = {name: one for name, one in where.items() if name not in spare}
        of_adapter = [*(f"{layer}.weight" for layer in adapter.layers), *adapter.whole]
        full = {one: name for name, one in names.full_names(of_adapter, source.config, model.output).items()}
        self._whole = {full[name]: one for name, one in adapter.whole.items()}
        self._layers = {full[f"{layer}.weight"]: layer for layer in adapter.layers}
        self._transposed = {e.theirs for e in names.entries(model.config, model.output) if e.transposed}
        self.shapes = {name: self._base.shapes[one] for name, one in self._where.items()}
        self.shapes |= {name: adapter.files.shapes[one] for name, one in self._whole.items()}
        self._check_layers()

    def _check_layers(self) -> None:
        shapes = self._adapter.files.shapes
        for name, layer in self._layers.items():
            low = self._adapter.layers[layer]
            of_product = [shapes[low.b][0], shapes[low.a][1]]
            there = self.shapes.get(name)
            if there is None or name in self._whole:
                raise another_base(self._adapter.folder, f"the base has no {name}")
            if there != (of_product[::-1] if name in self._transposed else of_product):
                raise another_base(self._adapter.folder, f"{name} is {there} in the base, B A is {of_product}")

    def check_types(self, names: Iterable[str]) -> None:
        """See `WeightFiles.check_types`; an adapter's own were looked at when it was opened."""
        self._base.check_types(self._where[name] for name in names if name not in self._whole)

    def read(self, name: str) -> Tensor:
        """One tensor."""
        if name in self._whole:
            return self._adapter.files.read(self._whole[name])
        tensor = self._base.read(self._where[name])
        if not self._merged or name not in self._layers:
            return tensor
        layer, turned = self._layers[name], name in self._transposed
        a, b, magnitude = self._adapter.read(layer)
        weight = torch.addmm(tensor.float().T if turned else tensor.float(), b, a, alpha=self._adapter.scale(layer))
        if magnitude is not None:
            weight *= (magnitude / torch.linalg.vector_norm(weight, dim=1))[:, None]
        return weight.T if turned else weight

    def load(self, model: Model) -> None:
        """Copy A, B and the lengths into an adapted model. Raises UserError where its adapter is another one."""
        expected = {joined.entry.theirs: joined for joined in _joined(model)}
        if others := sorted(self._layers.keys() ^ expected.keys()):
            raise self._differs(f"adapter.targets: only one of the two has {listed(others)}")
        for name, joined in expected.items():
            a, b, magnitude = self._adapter.read(self._layers[name])
            self._load(joined, a, b, magnitude, self._adapter.scale(self._layers[name]))

    def _load(self, joined: _Joined, a: Tensor, b: Tensor, magnitude: Tensor | None, scale: float) -> None:
        layers = [layer for _, layer in joined.parts]
        rank = len(layers[0].a)
        if len(a) not in (rank, rank * len(layers)):
            raise self._differs(f"adapter.rank={rank}, and {joined.layer} has rank {len(a)}")
        if not math.isclose(scale, layers[0].scale, rel_tol=1e-6):
            raise self._differs(
                f"adapter.alpha: B A counts {layers[0].scale:g} times, and in {joined.layer} {scale:g} times"
            )
        if (magnitude is None) != (layers[0].magnitude is None):
            raise self._differs(f"adapter: {joined.layer} is one of {'lora' if magnitude is None else 'dora'}")
        rest = b.clone()
        for number, (row, layer) in enumerate(joined.parts):
            at = number * rank if len(a) > rank else 0  # else they share A, as PEFT's own have it
            rows, columns = slice(row, row + layer.out_features), slice(at, at + rank)
            layer.a.copy_(a[columns])
            layer.b.copy_(b[rows, columns])
            rest[rows, columns] = 0
            if layer.magnitude is not None and magnitude is not None:
                layer.magnitude.copy_(magnitude[rows])
        if rest.any():
            raise self._differs(f"adapter.targets: {joined.layer} has one for all of its parts, mixed")

    def _differs(self, how: str) -> UserError:
        return UserError(
            f"{self._adapter.folder}: another adapter than this run's: {how}",
            "an adapter that is trained further keeps its kind, rank, scale and layers",
            "give those of the adapter; or adapter=none, which trains the weights with the adapter merged into them",
        )


def model_files(folder: Path, model: Model) -> WeightFiles | AdaptedFiles:
    """The weights of a folder for a model: an adapter's are merged, unless the model has adapters to hold them."""
    if not is_adapter(folder):
        return WeightFiles(folder)
    adapter = read_adapter(folder)
    base = model.adapter.base if model.adapter else adapter.base
    return AdaptedFiles(adapter, base, model, merged=model.adapter is None)


@torch.no_grad()
def fill_adapters(files: WeightFiles | AdaptedFiles, model: Model, seed: int) -> None:
    """Give an adapted model, whose weights are loaded, its A, B and lengths: the folder's, else those of a new one."""
    if isinstance(files, AdaptedFiles):
        files.load(model)
    else:
        draw_adapters(model, seed)


def trained_whole(base: Path, model: Model, *, moved: bool, folder: Path) -> frozenset[str]:
    """The parameters that are trained beside an adapter, by the modules of the file that they are part of.

    The head of a task, whatever the base does not have, the rows of a vocabulary that moved, and what the adapter in
    `folder`, where it is one, has trained whole before.
    """
    source, names = read_config(base), names_of(model.config)
    where = names.full_names(WeightFiles(base).shapes, source.config, model.output)
    entries = names.entries(model.config, model.output)
    ours = set(names.new(model.config, model.output, source.output, where))
    if not model.output.language:
        ours |= {one for entry in entries for one in entry.ours if one.startswith(("head.", "classifier."))}
    elif moved:
        ours |= {one for entry in entries for one in entry.ours} & {"embedding.weight", "head.weight", "head.bias"}
    modules = {_module(entry.theirs) for entry in entries if not ours.isdisjoint(entry.ours)}
    if is_adapter(folder):
        before = names.full_names(read_adapter(folder).whole, source.config, model.output)
        modules |= {_module(name) for name in before}
    return frozenset(one for entry in entries if _module(entry.theirs) in modules for one in entry.ours)


def _module(theirs: str) -> str:
    """The module that PEFT trains and saves whole, by a tensor of it: a head, the pooler, an embedding."""
    head = theirs.partition(".")[0]
    return head if head in _HEADS else re.sub(r"(\.dense)?\.(weight|bias)$", "", theirs)


# Writing -------------------------------------------------------------------------------------------------------------


def save_adapter(folder: Path, model: Model, config: dict[str, Any]) -> None:
    """Write what is trained, in fp32: PEFT puts it on the base with `PeftModel.from_pretrained(base, folder)`.

    config: the config.json of the model as a whole.
    """
    adapter = model.adapter
    assert adapter is not None
    tensors: dict[str, Tensor] = {}
    ranks = {}
    for joined in _joined(model):
        ranks[joined.layer] = joined.parts[0][1].a.shape[0] * len(joined.parts)
        tensors |= {f"{joined.layer}.lora_{part}": tensor for part, tensor in _low(joined, model).items()}
    whole, modules = _whole(model, adapter)
    tensors = {PREFIX + name: tensor.detach().float().cpu().contiguous() for name, tensor in (tensors | whole).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / CONFIG, _config(model, adapter, ranks, modules))
    write_json(folder / BASE, {"sha256": adapter.base_digest, "config": config})


def _low(joined: _Joined, model: Model) -> dict[str, Tensor]:
    """A, B and the lengths of a matrix of the file."""
    layers = [layer for _, layer in joined.parts]
    rank = len(layers[0].a)
    b = layers[0].b.new_zeros(joined.n_rows, rank * len(layers))
    for number, (row, layer) in enumerate(joined.parts):
        b[row : row + layer.out_features, number * rank : (number + 1) * rank] = layer.b.detach()
    found = {"A.weight": torch.cat([layer.a.detach() for layer in layers]), "B.weight": b}
    if layers[0].magnitude is not None:
        weights = [model.get_parameter(name).detach() for name in joined.entry.ours]
        lengths = torch.cat([torch.linalg.vector_norm(weight, dim=1) for weight in weights])
        for row, layer in joined.parts:
            assert layer.magnitude is not None
            lengths[row : row + layer.out_features] = layer.magnitude.detach()
        found["magnitude_vector"] = lengths
    return found


def _whole(model: Model, adapter: Adapter) -> tuple[dict[str, Tensor], list[str]]:
    """What is trained beside the adapter, and the modules that hold it, tied copies among them."""
    names = names_of(model.config)
    parameters = dict(model.named_parameters())
    tensors = {
        entry.theirs: entry.join([parameters[name] for name in entry.ours])
        for entry in names.entries(model.config, model.output)
        if not adapter.whole.isdisjoint(entry.ours)
    }
    modules = {_module(name) for name in tensors}
    if model.output.language:
        by_name = {e.theirs: e for e in names.entries(model.config, model.output)}
        for copy, original in names.copies(model.config).items():
            if original in tensors or _module(copy) in modules:
                tensors[copy] = parameters[by_name[original].ours[0]].clone()
                modules.add(_module(copy))
    return tensors, sorted(modules)


def _config(model: Model, adapter: Adapter, ranks: dict[str, int], modules: list[str]) -> dict[str, Any]:
    """adapter_config.json."""
    config: LoraConfig = adapter.config
    joined = {layer: rank for layer, rank in ranks.items() if rank != config.rank}
    alphas = {
        layer: config.alpha * (math.sqrt(rank / config.rank) if config.rank_stabilised else rank / config.rank)
        for layer, rank in joined.items()
    }
    entries = names_of(model.config).entries(model.config, model.output)
    linear = [e.theirs.removesuffix(".weight") for e in entries if e.theirs.endswith(".weight")]
    task = "CAUSAL_LM" if model.causal else None
    return {
        "peft_type": "LORA",
        "task_type": task if model.output.language else TASKS[model.output.kind],
        "base_model_name_or_path": str(adapter.base.resolve()),
        "revision": None,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilised,
        "use_dora": config.magnitudes,
        "target_modules": _short(list(ranks), linear),
        "rank_pattern": joined,
        "alpha_pattern": alphas,
        "modules_to_save": modules or None,
        "fan_in_fan_out": any(e.transposed for e in entries),
        "bias": "none",
        "init_lora_weights": True,
    }


def _short(layers: list[str], known: list[str]) -> list[str]:
    """Names of layers as short as PEFT takes them: `q_proj` for all that end so, if all of them carry the adapter."""
    endings = {name.rpartition(".")[2] for name in layers}
    shared = {end for end in endings if {name for name in known if name.rpartition(".")[2] == end} <= {*layers}}
    return sorted(shared) + [name for name in layers if name.rpartition(".")[2] not in shared]
