"""Names of tensors in the files of recurrent models: our own, as transformers has none."""

from __future__ import annotations

from collections.abc import Container, Iterable

from bigtrain.models.names import Entry
from bigtrain.models.output import Output
from bigtrain.models.recurrent_schema import RecurrentConfig

_HEAD = ("head.weight", "head.bias")
_LAYER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def entries(config: RecurrentConfig, output: Output) -> list[Entry]:
    """Every tensor of a model's file."""
    layers = [f"blocks.{n}.cells.{part}_l0" for n in range(config.n_layers) for part in _LAYER]
    return [Entry(name, (name,)) for name in ("embedding.weight", *layers, *_HEAD)]


def full_names(names: Iterable[str], config: RecurrentConfig, output: Output) -> dict[str, str]:
    """Each name stands for itself."""
    return {name: name for name in names}


def new(config: RecurrentConfig, output: Output, source: Output, found: Container[str]) -> set[str]:
    """A head of another kind than the file's, which is drawn."""
    return set() if output.language or output.kind is source.kind else set(_HEAD)


def unused(config: RecurrentConfig, output: Output, source: Output, found: Iterable[str]) -> set[str]:
    """The file's head, where one of another kind takes its place under the same name."""
    return new(config, output, source, ()) & set(found)


def copies(config: RecurrentConfig) -> dict[str, str]:
    """No tensor is there twice."""
    return {}
