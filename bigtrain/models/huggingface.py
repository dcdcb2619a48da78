"""Weights in and out of Hugging Face folders. What is written here opens in transformers as it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors.torch import save_file

from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.models.adapter_files import AdaptedFiles, fill_adapters, model_files, save_adapter
from bigtrain.models.adapter_folder import tokenizer_folder
from bigtrain.models.base import Model
from bigtrain.models.card import Training, model_card
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import names_of, on_meta
from bigtrain.models.huggingface_config import ModelFolder, config_json, read_config
from bigtrain.models.huggingface_folder import read_folder
from bigtrain.models.huggingface_generation import FILE as GENERATION
from bigtrain.models.huggingface_generation import generation_json
from bigtrain.models.names import Entry
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.vocabulary import Moved, repositioned
from bigtrain.models.weight_files import INDEX, WEIGHTS, WeightFiles, listed
from bigtrain.storage import write_json, write_text
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

_POSITIONS = "positions.weight"  # of an encoder; with RoBERTa they begin behind the padding token


def load_model(
    folder: Path, *, output: Output | None = None, seed: int = 0, device: str | torch.device = "cpu"
) -> Model:
    """The model of a folder, in fp32.

    output: what it is to give, by default what the folder's own gives; a head of another kind is drawn from `seed`.
    Raises UserError, see `read_config` and `load_weights`.
    """
    source = read_config(folder)
    model = on_meta(source.config, output or source.output)
    return materialise_from(folder, model, torch.device(device), seed)


def lacks_head(folder: Path) -> bool:
    """Whether a folder holds a backbone alone: the head of its model would be drawn. Raises UserError."""
    source = read_config(folder)
    return bool(_matched(folder, on_meta(source.config, source.output), None).new)


def materialise_from(
    folder: Path,
    model: D,
    device: torch.device,
    seed: int,
    *,
    tokenizer: Tokenizer | None = None,
    new_head: bool = False,
) -> D:
    """Give a model from the meta device its memory and the weights of a folder; a new head is drawn from `seed`.

    A model for labelled data gets one from a language model, a masked model from a bare encoder.

    tokenizer: the one that the model is for. Where it is not the folder's own, or the embedding has another number of
    rows, the rows move with their tokens: see `vocabulary.Moved`. new_head: the folder's gives way to a new one.
    """
    moved = _moved(folder, model, tokenizer) if tokenizer else None
    matched = _matched(folder, model, moved, new_head=new_head)
    new = matched.new  # before there is memory for what a config.json may claim
    for head, what in (("head.", "masked tokens"), ("next_sentence.", "the next sentence")):
        if any(name.startswith(head) for name in new) and model.output.language:
            log.warning("%s: no head for %s, so a new one is drawn", folder, what)
    model.to_empty(device=device)
    model.init_weights(seed, only=new)
    _load(matched, model, moved, seed)
    return model


def load_weights(folder: Path, model: Model, moved: Moved | None = None, seed: int = 0) -> None:
    """Copy the weights of a folder (fp32, bf16 or fp16; one file or shards) into a model that has memory.

    A head of another kind than the folder's stays as it was initialised. moved: where the rows of
    another vocabulary come from; new ones are drawn from `seed`. Raises UserError for files that are missing or
    damaged, and with the list of every tensor that is missing, unexpected or of another shape; nothing has been copied
    then.
    """
    _load(_matched(folder, model, moved), model, moved, seed)


def _load(matched: _Matched, model: Model, moved: Moved | None, seed: int) -> None:
    files, where, wanted, _ = matched
    parameters = dict(model.named_parameters())
    rows = _vocabulary_rows(model)
    with torch.no_grad():
        for entry in wanted:
            tensor = files.read(where[entry.theirs])
            if moved and entry.ours[0] in rows:
                parameters[entry.ours[0]].copy_(moved.rows(tensor, entry.ours[0], seed))
                continue
            ours = [parameters[name] for name in entry.ours]
            if moved and entry.ours == (_POSITIONS,):
                tensor = repositioned(tensor, len(ours[0]))
            for parameter, part in zip(ours, entry.split(tensor, [len(p) for p in ours]), strict=True):
                parameter.copy_(part)
    if model.adapter:
        fill_adapters(files, model, seed)


def _vocabulary_rows(model: Model) -> set[str]:
    """The parameters that have a row for each token; no file holds one of them transposed or joined with others."""
    return {"embedding.weight", "head.weight", "head.bias"} if model.output.language else {"embedding.weight"}


def _moved(folder: Path, model: Model, tokenizer: Tokenizer) -> Moved | None:
    """Where the rows of the model's vocabulary come from, if it is not just the folder's."""
    before, after = read_config(folder).config.vocab_size, model.config.vocab_size
    own = Tokenizer.load(tokenizer_folder(folder))
    assert before is not None
    assert after is not None
    if before == after and own.hash == tokenizer.hash:
        return None
    return Moved.between(own, before, tokenizer, after)


class _Matched(NamedTuple):
    files: WeightFiles | AdaptedFiles
    where: dict[str, str]  # full name of a tensor -> its name in the files
    wanted: list[Entry]  # what the model takes from them
    new: set[str]  # parameters of the model that they do not give


def _matched(folder: Path, model: Model, moved: Moved | None, *, new_head: bool = False) -> _Matched:
    """How the files of a folder and a model go together. Raises UserError, see `load_weights`."""
    source, names = read_config(folder), names_of(model.config)
    output = LANGUAGE if new_head else source.output  # a head for labels is of no use to one for other labels
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    if moved:
        shapes |= {
            name: torch.Size([moved.n_before, *shapes[name][1:]]) for name in _vocabulary_rows(model) & {*shapes}
        }
        if isinstance(model.config, EncoderConfig) and model.config.pad_id is not None:
            rows = on_meta(source.config).get_parameter(_POSITIONS).shape[0]
            shapes[_POSITIONS] = torch.Size([rows, model.config.dim])
    files = model_files(folder, model)
    where = names.full_names(files.shapes, source.config, model.output)
    files.check_types(where.values())  # not those of the constants, which are left out
    new = names.new(model.config, model.output, output, where)
    wanted = [entry for entry in names.entries(model.config, model.output) if new.isdisjoint(entry.ours)]
    wrong: dict[str, list[str]] = {"missing": [], "unexpected": [], "misshapen": []}
    for entry in wanted:
        shape = entry.shape([shapes[name] for name in entry.ours])
        if entry.theirs not in where:
            wrong["missing"].append(entry.theirs)
        elif (there := files.shapes[where[entry.theirs]]) != shape:
            wrong["misshapen"].append(f"{entry.theirs} is {there}, the config wants {shape}")
    known = {entry.theirs for entry in wanted}
    wrong["unexpected"] = sorted(where.keys() - known - _spare(files, where, model, output))
    if any(wrong.values()):
        found = "; ".join(f"{kind}: {listed(names)}" for kind, names in wrong.items() if names)
        raise UserError(
            f"{folder}: {found}",
            f"the tensors of the file are those of its config.json ({_kind(model)})",
            "restore the folder's config.json and weights; both must come from the same model",
        )
    return _Matched(files, where, wanted, new)


def _spare(files: WeightFiles | AdaptedFiles, where: dict[str, str], model: Model, source: Output) -> set[str]:
    """Tensors that the model has no use for, and those that are another one once more."""
    names = names_of(model.config)
    same = {
        copy
        for copy, original in names.copies(model.config).items()
        if copy in where and original in where and torch.equal(files.read(where[copy]), files.read(where[original]))
    }
    return same | names.unused(model.config, model.output, source, where)


def _kind(model: Model) -> str:
    return f"{model.config.architecture}, {model.output}"


def save_model(
    folder: Path,
    model: Model,
    tokenizer: Tokenizer,
    *,
    training: Training | None = None,
    generation: dict[str, Any] | None = None,
    shard_bytes: int = 5 * 10**9,
) -> None:
    """Write config.json, generation_config.json, fp32 weights and the tokenizer into an existing folder.

    transformers' Auto classes open it as it lies. Weights of more than `shard_bytes` are split into several files with
    an index. The names are free of what compilation adds to them; a tied head is left out. training: what README.md,
    the model card, tells of it; without that there is none. generation: what generation_config.json keeps of that of
    the model it started from, see `huggingface_generation.inherited`. Of an adapted model only the adapter is
    written, for the base that it names: see `adapter_files`.
    """
    if training:
        write_text(folder / "README.md", model_card(model, tokenizer, training))
    config = config_json(model.config, tokenizer, model.output)
    if generation and "bos_token_id" in generation:
        config["bos_token_id"] = generation["bos_token_id"]
    if model.causal and model.output.language:
        write_json(folder / GENERATION, generation_json(tokenizer, generation or {}))
    tokenizer.save(folder, longest=model.config.max_seq_len)
    if model.adapter:
        save_adapter(folder, model, config)
        return
    write_json(folder / "config.json", config)
    shards = list(_shards(model, shard_bytes))
    total = len(shards)
    names = [WEIGHTS] if total == 1 else [f"model-{n + 1:05d}-of-{total:05d}.safetensors" for n in range(total)]
    parameters = dict(model.named_parameters())
    for file, shard in zip(names, shards, strict=True):
        tensors = {e.theirs: e.join([parameters[name].detach().float().cpu() for name in e.ours]) for e in shard}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    if total > 1:
        weight_map = {entry.theirs: file for file, shard in zip(names, shards, strict=True) for entry in shard}
        size = 4 * sum(parameter.numel() for parameter in parameters.values())
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _shards(model: Model, shard_bytes: int) -> Iterator[list[Entry]]:
    """The entries of the file, cut where the next tensor would go beyond `shard_bytes`."""
    sizes = {name: 4 * parameter.numel() for name, parameter in model.named_parameters()}
    shard: list[Entry] = []
    held = 0
    for entry in names_of(model.config).entries(model.config, model.output):
        size = sum(sizes[name] for name in entry.ours)
        if shard and held + size > shard_bytes:
            yield shard
            shard, held = [], 0
        shard.append(entry)
        held += size
    yield shard
