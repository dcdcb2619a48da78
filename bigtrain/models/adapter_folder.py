"""An adapter's folder in PEFT's format (huggingface.co/docs/peft): adapter_config.json and adapter_model.safetensors.

Ours also hold the tokenizer, and base.json: a sha256 by which another base is recognised, and the config.json of the
model that base and adapter make. It does not lie beside them under that name: transformers would look for its weights.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from bigtrain import storage
from bigtrain.errors import UserError
from bigtrain.models.huggingface_keys import read_json
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.weight_files import WeightFiles, weight_paths

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
KEPT = "base"  # in a run folder: the base of its adapters
PREFIX = "base_model.model."  # of every tensor
_PART = re.compile(r"(?P<layer>.+)\.lora_(?P<part>A|B|magnitude_vector)(\.weight)?")
# What PEFT's files may hold beside the matrices and lengths that are read here.
_ONLY: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    # The others begin by changing the base's weights.
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
_WITHOUT = (
    *("lora_bias", "layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens"),
    *("use_qalora", "use_bdlora", "arrow_config", "kasa_config", "velora_config", "monteclora_config"),
)
TASKS = {
    OutputKind.label: "SEQ_CLS",
    OutputKind.labels: "SEQ_CLS",
    OutputKind.score: "SEQ_CLS",
    OutputKind.tags: "TOKEN_CLS",
    OutputKind.span: "QUESTION_ANS",
}
_BESIDE_WEIGHTS = {".json", ".txt", ".model", ".jinja"}  # of a model folder: its config and its tokenizer
_LAST = re.compile(r"(score|classifier(\.out_proj)?|qa_outputs)\.weight")


class Low(NamedTuple):
    """The names in the file of what a layer has: A, B and the lengths of DoRA."""

    a: str
    b: str
    magnitude: str | None


@dataclass(frozen=True)
class AdapterFolder:
    """What the files of an adapter say."""

    folder: Path
    raw: Mapping[str, Any]  # adapter_config.json
    files: WeightFiles
    layers: dict[str, Low]  # by the layer's name in the model's files
    whole: dict[str, str]  # tensors that are saved as they are: name in the model's files -> name in this one

    @property
    def base(self) -> Path:
        """The model folder it names. Raises UserError where there is none."""
        return _base(self.folder, self.raw)

    def scale(self, layer: str) -> float:
        """What B A of a layer is multiplied by."""
        rank = self.files.shapes[self.layers[layer].a][0]
        patterns = self.raw.get("alpha_pattern") or {}
        found = (alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", layer))
        alpha = float(next(found, self.raw.get("lora_alpha", 8)))
        return alpha / (math.sqrt(rank) if self.raw.get("use_rslora") else rank)

    def read(self, layer: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """A (rank, in), B (out, rank) and the lengths (out,) of a layer, in fp32."""
        low = self.layers[layer]
        magnitude = None if low.magnitude is None else self.files.read(low.magnitude).float().flatten()
        return self.files.read(low.a).float(), self.files.read(low.b).float(), magnitude

    def output(self, of_base: Output) -> Output:
        """What the model with the adapter gives, where no config.json says so."""
        task = self.raw.get("task_type")
        heads = [
            shape for name, one in self.whole.items() if _LAST.fullmatch(name) for shape in [self.files.shapes[one]]
        ]
        if task == "QUESTION_ANS":
            return Output(OutputKind.span)
        if task not in ("SEQ_CLS", "TOKEN_CLS") or not heads:
            return of_base
        kind = OutputKind.label if task == "SEQ_CLS" else OutputKind.tags
        if len(of_base.labels) == heads[0][0] and (of_base.kind is OutputKind.tags) == (kind is OutputKind.tags):
            return of_base
        return Output(kind, tuple(f"LABEL_{number}" for number in range(heads[0][0])))

    def check_base(self, base: Path) -> None:
        """Raises UserError where the adapter was trained on another base than this one."""
        if not (self.folder / BASE).is_file():
            return  # PEFT keeps no more than a name; shapes are compared when the weights are read
        if read_json(self.folder / BASE).get("sha256") != digest(base):
            raise another_base(self.folder, f"{base} does not hold the weights that it was trained on")


def another_base(folder: Path, why: str) -> UserError:
    """The error for an adapter and a model that do not go together."""
    return UserError(
        f"{folder}: an adapter for another base: {why}",
        "an adapter goes with the weights that it was trained on, and with no others",
        f"restore the base where {CONFIG} names it (base_model_name_or_path)",
    )


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, ours or one that PEFT saved."""
    return (folder / CONFIG).is_file()


def config_of_adapter(folder: Path) -> dict[str, Any] | None:
    """The config.json of the model that base and adapter make; PEFT's own adapters leave that to their base."""
    config = read_json(folder / BASE).get("config") if (folder / BASE).is_file() else None
    if config is not None and not isinstance(config, dict):
        raise UserError(f"{folder / BASE}: config", "it is a config.json", "restore the file")
    return config


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer of a model folder lies: PEFT may leave it with the base."""
    if not is_adapter(folder) or (folder / "tokenizer.json").is_file() or (folder / "tokenizer_config.json").is_file():
        return folder
    return _base(folder, read_json(folder / CONFIG))


def read_adapter(folder: Path) -> AdapterFolder:
    """Read what there is. Raises UserError for files that are missing or damaged, and for what is not LoRA or DoRA."""
    path = folder / CONFIG
    raw = read_json(path)
    for key, known in _ONLY.items():
        if raw.get(key, known[0]) not in known:
            raise _unsupported(path, key, raw[key])
    for key in _WITHOUT:
        if raw.get(key):
            raise _unsupported(path, key, raw[key])
    if not (folder / WEIGHTS).is_file():
        rule = f"its weights are in {WEIGHTS}: a pickle (.bin) is never opened"
        raise UserError(f"{folder}: no {WEIGHTS}", rule, "save it with PEFT's save_pretrained(FOLDER)")
    files = WeightFiles(folder, WEIGHTS)
    files.check_types(files.shapes)
    layers: dict[str, dict[str, str]] = {}
    whole = {}
    for full in files.shapes:
        name = full.removeprefix(PREFIX)
        if found := _PART.fullmatch(name):
            layers.setdefault(found["layer"], {})[found["part"]] = full
        elif ".lora_" in name:
            raise _unsupported(folder / WEIGHTS, name, list(files.shapes[full]))
        else:
            whole[name] = full
    for layer, parts in layers.items():
        shapes = {part: files.shapes[full] for part, full in parts.items()}
        if (
            not {"A", "B"} <= {*parts}
            or any(len(shapes[part]) != 2 for part in "AB")
            or shapes["A"][0] != shapes["B"][1]
        ):
            rule = "a layer has A (rank, in) and B (out, rank)"
            raise UserError(f"{folder / WEIGHTS}: {layer} has {shapes}", rule, "restore the file")
    low = {layer: Low(parts["A"], parts["B"], parts.get("magnitude_vector")) for layer, parts in layers.items()}
    return AdapterFolder(folder, raw, files, low, whole)


def digest(folder: Path) -> str:
    """Tells the weights of a model folder from all others: sha256 over its files."""
    found = hashlib.sha256()
    for path in weight_paths(folder):
        stat = path.stat()
        found.update(f"{path.name} {_sha256(path, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return found.hexdigest()


@functools.cache
def _sha256(path: Path, size: int, time: int) -> str:
    """A run asks for its base more than once."""
    return storage.sha256(path)


def _base(folder: Path, raw: Mapping[str, Any]) -> Path:
    """The folder that the adapter names, seen from here or from its own folder; or the one that its run keeps."""
    name = raw.get("base_model_name_or_path")
    places = [Path(str(name)).expanduser(), folder / str(name)] if name else []
    known = read_json(folder / BASE).get("sha256") if (folder / BASE).is_file() else None
    if known:
        places.append(folder.absolute().parent.parent.parent / KEPT)  # RUN/checkpoints/STEP/model
    found = [place for place in dict.fromkeys(places) if (place / "config.json").is_file()]
    if not found:
        raise UserError(
            f"{folder / CONFIG}: base_model_name_or_path {json.dumps(name)}",
            f"an adapter needs its base, and there is no model folder of that name in {Path.cwd()}; none is fetched",
            "put the base there, or start from the folder that the name is relative to",
        )
    if known and found[1:]:
        return next((place for place in found if digest(place) == known), found[0])
    return found[0]


def keep_base(run: Path, base: Path, *, anew: bool) -> None:
    """Let a run folder hold the base of its adapters: that base's own run deletes checkpoints as it goes on.

    Hard links, which cost nothing: the files of a checkpoint never change in place, and the weights of a folder that do
    are refused by their sha256. Copies where the base is on another disk.
    anew: what is there is of a run that never had a checkpoint.
    """
    kept = run / KEPT
    if kept.is_dir() and not anew:
        return
    shutil.rmtree(kept, ignore_errors=True)
    beside = [path for path in sorted(base.iterdir()) if path.suffix in _BESIDE_WEIGHTS and path.is_file()]
    with storage.new_folder(kept) as folder:
        for path in [*weight_paths(base), *beside]:
            try:
                os.link(path.resolve(), folder / path.name)  # what a symbolic link leads to
            except OSError:
                shutil.copyfile(path, folder / path.name)


def _unsupported(path: Path, key: str, value: Any) -> UserError:
    return UserError(
        f"{path}: {key} {json.dumps(value)}",
        "adapters are LoRA and DoRA on linear layers, and what is trained beside them as a whole",
        "merge it with PEFT (merge_and_unload), and name the folder of the merged model",
    )
