"""The safetensors files of a model folder: one, or shards with an index. Pickles are never opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.models.huggingface_keys import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_LISTED = 20
_NUMBER = re.compile(r"(?:^|\.)(\d+)\.")  # of a layer, in the name of a tensor


class WeightFiles:
    """The safetensors files of a folder: shapes by name at once, tensors one by one. only: one file of it."""

    def __init__(self, folder: Path, only: str | None = None) -> None:
        self.shapes: dict[str, list[int]] = {}
        self._file_of: dict[str, Path] = {}
        self._types: dict[str, str] = {}
        for path in [folder / only] if only else weight_paths(folder):
            with _opened(path) as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    view = tensors.get_slice(name)
                    self.shapes[name], self._file_of[name] = list(view.get_shape()), path
                    self._types[name] = view.get_dtype()

    def check_types(self, names: Iterable[str]) -> None:
        """Raises UserError for one that is no tensor of weights."""
        for name in names:
            if self._types[name] not in _FLOATS:
                raise UserError(
                    f"{self._file_of[name]}: {name} is {self._types[name]}",
                    "weights are floating-point numbers of 16 bits or more; quantised ones are not read",
                    "name the model as it was before quantisation",
                )

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        with _opened(self._file_of[name]) as tensors:
            tensor: Tensor = tensors.get_tensor(name)
            return tensor


def count_layers(folder: Path) -> int:
    """Layers that the tensors of a folder are of, by their names alone. Raises UserError, see `weight_paths`."""
    n_layers = 0
    for path in weight_paths(folder):
        with _opened(path) as tensors:
            found = (_NUMBER.search(name) for name in tensors.keys())  # noqa: SIM118
            n_layers = max([n_layers, *(int(number[1]) + 1 for number in found if number)])
    return n_layers


def weight_paths(folder: Path) -> list[Path]:
    """The files that hold the weights of a folder. Raises UserError where there are none that are read."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        weight_map = read_json(folder / INDEX).get("weight_map")
        names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise UserError(f"{folder / INDEX}", "its weight_map names files of the same folder", "restore the file")
        if absent := [name for name in names if not (folder / name).is_file()]:
            raise UserError(f"{folder}: no {listed(absent)}", f"{INDEX} names these shards", "copy them there")
        return [folder / name for name in names]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        named = (read_json(folder / "config.json").get("architectures") or [""])[0]  # another class loses the head
        kind = named if str(named).isidentifier() else "AutoModelForCausalLM"
        raise UserError(
            f"{folder}: pickled weights, no {WEIGHTS}",
            "weights are read from safetensors only: reading a pickle can run code",
            f"convert it once, where you trust it, with transformers: {kind}.from_pretrained(FOLDER)"
            ".save_pretrained(NEW_FOLDER); copy the tokenizer's files as well",
        )
    if shards := [path.name for path in folder.glob("model-*.safetensors")]:
        rule = f"{INDEX} names the shards and the tensors in them"
        raise UserError(f"{folder}: {len(shards)} shards and no {INDEX}", rule, "copy the index there")
    raise UserError(f"{folder}: no {WEIGHTS}", "a model folder holds its weights", "name a folder that has them")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: {error}", "it must be a whole safetensors file", "restore it from a copy") from error


def listed(names: list[str]) -> str:
    """Names in an error: the first 20, and how many more there are."""
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
