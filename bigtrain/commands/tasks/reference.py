"""Log-probabilities of answers under the model that a run starts from, computed once and kept in the run folder."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from bigtrain import storage
from bigtrain.data.tasks.packed_pairs import LINES, PackedPairs
from bigtrain.errors import BigtrainError, UserError
from bigtrain.log import log
from bigtrain.models.adapter_folder import WEIGHTS, digest, is_adapter, read_adapter
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import materialise_from
from bigtrain.objectives.preference import reference_values
from bigtrain.parallel.apply import apply
from bigtrain.parallel.memory import out_of_memory_is_an_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.models.base import Model, ModelConfig
    from bigtrain.parallel.placement import Placement
    from bigtrain.tokenizer import Tokenizer

FILE = "reference.safetensors"  # in the run folder
_SAID = "reference"  # one entry: several have no order in the file
_TOKENS_AT_ONCE = 8192
TRAINING = "training"  # the part that is learned from

Values = dict[str, "NDArray[Any]"]


@dataclass
class ReferenceModel:
    """The model that others are measured against."""

    find: Callable[[], Path]  # its folder; raises UserError where it is gone
    config: ModelConfig
    tokenizer: Tokenizer
    seed: int  # of the rows of a vocabulary that has grown
    compile: bool

    @functools.cached_property
    def folder(self) -> Path:
        """Where it lies. Raises UserError."""
        return self.find()

    def loaded(self, placement: Placement) -> Model:
        """The model as training begins with it, without dropout and without gradients."""
        model = on_meta(self.config)
        model = materialise_from(self.folder, model, placement.device, self.seed, tokenizer=self.tokenizer)
        apply(model, compile=self.compile)
        return model.requires_grad_(False).eval()

    def digest(self) -> str:
        """Tells its weights from all others. Raises UserError where it is gone."""
        folder = self.folder
        if not is_adapter(folder):
            return digest(folder)
        return f"{digest(read_adapter(folder).base)} {storage.sha256(folder / WEIGHTS)}"


def computed(model: ReferenceModel, parts: Mapping[str, PackedPairs], placement: Placement) -> Values:
    """`reference_values` of each part, PART.NAME, in the order of its rows; each process computes a share of them.

    What is computed together does not depend on the number of processes. Of the part `TRAINING` no metrics are asked.
    """
    values: Values = {}
    loaded = model.loaded(placement)
    for name, pairs in parts.items():
        at_once = max(1, _TOKENS_AT_ONCE // (LINES * pairs.seq_len))
        batches = pairs.batches(at_once)
        found: dict[str, Tensor] = {}
        with torch.no_grad(), placement.autocast(), out_of_memory_is_an_error(at_once):
            for number in range(placement.rank, max(len(batches), placement.world_size), placement.world_size):
                # A process without a batch computes one all the same, to learn the shapes.
                batch = placement.to_device(batches[number % len(batches)])
                first, last = pairs.starts[np.minimum([number * at_once, (number + 1) * at_once], len(pairs))]
                for key, one in reference_values(loaded, batch, measured=name != TRAINING).items():
                    table = found.setdefault(key, one.new_zeros(pairs.n_answer_tokens, *one.shape[1:]))
                    table[first:last] = one[: last - first]
        for key, table in found.items():  # the others hold zeros: the sum is exact
            values[f"{name}.{key}"] = placement.all_reduce_sum(table).cpu().numpy()
    return values


class Kept(NamedTuple):
    """What a file holds: of which weights and pairs, and the values, or what is wrong with them."""

    weights: str | None
    pairs: str | None
    values: Values
    damage: str = ""


def read(path: Path) -> Kept:
    """What is in a file, verified."""
    weights = pairs = None
    try:
        with safe_open(path, "np") as file:
            said = json.loads((file.metadata() or {})[_SAID])
            weights, pairs = said["weights"], said["pairs"]
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return Kept(None, None, {}, "it is missing")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        return Kept(weights, pairs, {}, f"it is damaged: {error}")
    if said.get("sha256") != _sha256(values, weights, pairs):
        return Kept(weights, pairs, {}, "it is damaged: its values do not match their checksum")
    return Kept(weights, pairs, values)


def write(path: Path, values: Values, weights: str, pairs: str) -> None:
    """Write the file, atomically. Raises DiskFull."""
    storage.remove_leftovers(path.parent)  # of a write that was killed
    said = {"weights": weights, "pairs": pairs, "sha256": _sha256(values, weights, pairs)}
    storage.write_bytes(path, save(dict(values), metadata={_SAID: json.dumps(said)}))


def kept_or_computed(
    path: Path,
    model: ReferenceModel,
    parts: Mapping[str, PackedPairs],
    placement: Placement,
    *,
    setting: str,
    begun: bool,
) -> None:
    """Give each part what is to be `known`: that of the file, else computed now and written there.

    setting: what else the values depend on. begun: the run has checkpoints, so the values must be those that it began
    with. Raises UserError where these are lost: the weights that it started from have changed, or are gone.
    """
    pairs = fingerprint(parts, setting)
    kept: Kept | BigtrainError | None = None
    if placement.leads:
        try:
            kept = _valid(path, model, pairs, begun)
        except BigtrainError as error:  # the others are waiting to be told
            kept = error
    kept = placement.from_lead(kept)
    if isinstance(kept, BigtrainError):
        raise kept
    if kept is None:
        if placement.leads:
            n_pairs = sum(len(part.pairs) for part in parts.values())
            log.info("computing the log-probabilities of the answers of %d pairs under %s", n_pairs, model.folder)
        values = computed(model, parts, placement)
        if placement.leads:
            write(path, values, model.digest(), pairs)
    else:
        values = kept.values
    know(parts, values)


def know(parts: Mapping[str, PackedPairs], values: Values) -> None:
    """Give each part its values."""
    for name, part in parts.items():
        part.known = {key.removeprefix(f"{name}."): one for key, one in values.items() if key.startswith(f"{name}.")}


def _valid(path: Path, model: ReferenceModel, pairs: str, begun: bool) -> Kept | None:
    """What the file holds, where it is right; None: it is to be computed. Raises UserError: it cannot be."""
    kept = read(path)
    wrong = kept.damage or ("" if kept.pairs == pairs else "it is of other pairs, rows, precision or device")
    if not begun:
        return None if wrong or kept.weights != model.digest() else kept
    if not wrong:
        return kept  # whatever has become of the weights since
    rule = f"rewards are measured against the weights that the run started from: {wrong}"
    remedy = "restore the file from a copy, or begin anew with another run.dir="
    try:
        same = kept.weights == model.digest()
    except UserError as error:
        raise UserError(f"{path}, and {error.given}", f"{rule}, and these weights are gone", remedy) from None
    if not same:
        raise UserError(f"{path} and {model.folder}", f"{rule}, and these weights are not known to be the same", remedy)
    log.warning("%s: %s; its values are computed again", path, wrong)
    return None


def fingerprint(parts: Mapping[str, PackedPairs], setting: str) -> str:
    """Of the pairs in tokens, and of how they are packed."""
    found = hashlib.sha256(setting.encode())
    for name, part in sorted(parts.items()):
        found.update(f"{name} {part.seq_len} {part.rows}".encode())
        for pair in part.pairs:
            for ids, scored in pair:
                found.update(len(ids).to_bytes(8, "little") + ids.tobytes() + np.packbits(scored).tobytes())
    return found.hexdigest()


def _sha256(values: Values, weights: str, pairs: str) -> str:
    found = hashlib.sha256(f"{weights} {pairs}".encode())
    for name, value in sorted(values.items()):
        found.update(f"{name} {value.dtype} {value.shape} ".encode() + value.tobytes())
    return found.hexdigest()
