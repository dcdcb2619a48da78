"""Weights in and out of Hugging Face folders. What is written here opens in transformers as it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.models.base import Model
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface_config import ModelFolder, config_json, generation_json, read_config, read_json
from bigtrain.models.names import LM_HEAD, Entry, entries, full_names
from bigtrain.storage import write_json
from bigtrain.tokenizer import Tokenizer

__all__ = [
    "ModelFolder",
    "load_model",
    "load_weights",
    "materialise_from",
    "read_config",
    "read_folder",
    "save_model",
]

D = TypeVar("D", bound=Model)

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_LISTED = 20  # names of one kind in an error


def load_model(
    folder: Path, *, labels: list[str] | None = None, seed: int = 0, device: str | torch.device = "cpu"
) -> Decoder:
    """The model of a folder, in fp32.

    labels: makes a classifier of a language model, with a new head drawn from `seed`; a folder that holds a classifier
    keeps its own. Raises UserError, see `read_config` and `load_weights`.
    """
    source = read_config(folder)
    model = Decoder.on_meta(source.config, n_labels=len(source.labels or labels or []))
    return materialise_from(folder, model, torch.device(device), seed)


def materialise_from(folder: Path, model: D, device: torch.device, seed: int) -> D:
    """Give a model from the meta device its memory and the weights of a folder; a new head is drawn from `seed`."""
    _matched(folder, model)  # before there is memory for what a config.json may claim
    model.to_empty(device=device)
    model.init_weights(seed, only={"head.weight"} if _has_new_head(model, read_config(folder)) else ())
    load_weights(folder, model)
    return model


def read_folder(folder: Path) -> tuple[ModelFolder, Tokenizer]:
    """What a folder holds besides its weights. Raises UserError, also where the tokenizer does not fit the model."""
    source, tokenizer = read_config(folder), Tokenizer.load(folder)
    assert source.config.vocab_size is not None
    if tokenizer.vocab_size > source.config.vocab_size:
        raise UserError(
            f"{folder}: a tokenizer of {tokenizer.vocab_size} entries, an embedding of {source.config.vocab_size} rows",
            "the model needs a row for every token",
            "restore the tokenizer that the model was trained with",
        )
    return source, tokenizer


def load_weights(folder: Path, model: Model) -> None:
    """Copy the weights of a folder (fp32, bf16 or fp16; one file or shards) into a model that has memory.

    A classifier takes a language model's weights and keeps the head it was initialised with. Raises UserError for
    files that are missing or damaged, and with the list of every tensor that is missing, unexpected or of another
    shape; nothing has been copied then.
    """
    files, where, wanted = _matched(folder, model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for entry in wanted:
            ours = [parameters[name] for name in entry.ours]
            tensor = files.read(where[entry.theirs])
            for parameter, part in zip(ours, entry.split(tensor, [len(p) for p in ours]), strict=True):
                parameter.copy_(part)


def _matched(folder: Path, model: Model) -> tuple[_Files, dict[str, str], list[Entry]]:
    """The files of a folder, the full names of their tensors, and the entries that `model` takes from them."""
    source, parameters = read_config(folder), dict(model.named_parameters())
    files = _Files(folder)
    where = full_names(list(files.shapes), source.config.architecture)
    wanted = entries(model.config, model.n_labels)
    if _has_new_head(model, source):
        wanted = [entry for entry in wanted if entry.ours != ("head.weight",)]
    wrong: dict[str, list[str]] = {"missing": [], "unexpected": [], "misshapen": []}
    for entry in wanted:
        shape = entry.shape([parameters[name].shape for name in entry.ours])
        if entry.theirs not in where:
            wrong["missing"].append(entry.theirs)
        elif (there := files.shapes[where[entry.theirs]]) != shape:
            wrong["misshapen"].append(f"{entry.theirs} is {there}, the config wants {shape}")
    known = {entry.theirs for entry in wanted}
    wrong["unexpected"] = sorted(where.keys() - known - _spare(files, where, model))
    if any(wrong.values()):
        listed = "; ".join(f"{kind}: {_listed(names)}" for kind, names in wrong.items() if names)
        raise UserError(
            f"{folder}: {listed}",
            f"the tensors of the file are those of its config.json ({_kind(model)})",
            "restore the folder's config.json and weights; both must come from the same model",
        )
    return files, where, wanted


def _spare(files: _Files, where: dict[str, str], model: Model) -> set[str]:
    """The language model's head, where a classifier has no use for it, or where it is the embedding once more."""
    if LM_HEAD not in where or not (model.n_labels or model.config.tied):
        return set()
    embedding = next(e.theirs for e in entries(model.config, model.n_labels) if e.ours == ("embedding.weight",))
    same = model.n_labels or (
        embedding in where and torch.equal(files.read(where[LM_HEAD]), files.read(where[embedding]))
    )
    return {LM_HEAD} if same else set()


def _has_new_head(model: Model, source: ModelFolder) -> bool:
    return model.n_labels > 0 and not source.labels


def _kind(model: Model) -> str:
    return f"{model.config.architecture}, {f'{model.n_labels} labels' if model.n_labels else 'a language model'}"


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


class _Files:
    """The safetensors files of a folder: shapes by name at once, tensors one by one."""

    def __init__(self, folder: Path) -> None:
        self.shapes: dict[str, list[int]] = {}
        self._file_of: dict[str, Path] = {}
        for path in _weight_files(folder):
            with _opened(path) as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    view = tensors.get_slice(name)
                    if view.get_dtype() not in _FLOATS:
                        raise UserError(
                            f"{path}: {name} is {view.get_dtype()}",
                            "weights are floating-point numbers of 16 bits or more; quantised ones are not read",
                            "name the model as it was before quantisation",
                        )
                    self.shapes[name], self._file_of[name] = list(view.get_shape()), path

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        with _opened(self._file_of[name]) as tensors:
            tensor: Tensor = tensors.get_tensor(name)
            return tensor


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        weight_map = read_json(folder / _INDEX).get("weight_map")
        names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise UserError(f"{folder / _INDEX}", "its weight_map names files of the same folder", "restore the file")
        if absent := [name for name in names if not (folder / name).is_file()]:
            raise UserError(f"{folder}: no {_listed(absent)}", f"{_INDEX} names these shards", "copy them there")
        return [folder / name for name in names]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise UserError(
            f"{folder}: pickled weights, no {_WEIGHTS}",
            "weights are read from safetensors only: reading a pickle can run code",
            "convert it once where you trust it: transformers' from_pretrained, then save_pretrained",
        )
    raise UserError(f"{folder}: no {_WEIGHTS}", "a model folder holds its weights", "name a folder that has them")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: {error}", "it must be a whole safetensors file", "restore it from a copy") from error


def save_model(
    folder: Path, model: Model, tokenizer: Tokenizer, labels: list[str] | None = None, *, shard_bytes: int = 5 * 10**9
) -> None:
    """Write config.json, generation_config.json, fp32 weights and the tokenizer into an existing folder.

    transformers' Auto classes open it as it lies. Weights of more than `shard_bytes` are split into several files with
    an index. The names are free of what compilation adds to them; a tied head is left out.
    """
    labels = labels or []
    write_json(folder / "config.json", config_json(model.config, tokenizer, labels))
    if not labels:
        write_json(folder / "generation_config.json", generation_json(tokenizer))
    tokenizer.save(folder)
    shards = list(_shards(model, shard_bytes))
    total = len(shards)
    names = [_WEIGHTS] if total == 1 else [f"model-{n + 1:05d}-of-{total:05d}.safetensors" for n in range(total)]
    parameters = dict(model.named_parameters())
    for file, shard in zip(names, shards, strict=True):
        tensors = {e.theirs: e.join([parameters[name].detach().float().cpu() for name in e.ours]) for e in shard}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    if total > 1:
        weight_map = {entry.theirs: file for file, shard in zip(names, shards, strict=True) for entry in shard}
        size = 4 * sum(parameter.numel() for parameter in parameters.values())
        write_json(folder / _INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _shards(model: Model, shard_bytes: int) -> Iterator[list[Entry]]:
    """The entries of the file, cut where the next tensor would go beyond `shard_bytes`."""
    sizes = {name: 4 * parameter.numel() for name, parameter in model.named_parameters()}
    shard: list[Entry] = []
    held = 0
    for entry in entries(model.config, model.n_labels):
        size = sum(sizes[name] for name in entry.ours)
        if shard and held + size > shard_bytes:
            yield shard
            shard, held = [], 0
        shard.append(entry)
        held += size
    yield shard
