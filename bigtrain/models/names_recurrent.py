"""Names of tensors in the files of recurrent models: our own, as transformers has none."""

from __future__ import annotations

from collections.abc import Container, Iterable

from bigtrain.models.names import Entry
from bigtrain.models.recurrent_schema import RecurrentConfig

_HEAD = ("head.weight", "head.bias")
_LAYER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def entries(config: RecurrentConfig, n_labels: int) -> list[Entry]:
    """Every tensor of a model's file."""
    layers = [f"blocks.{n}.cells.{part}_l0" for n in range(config.n_layers) for part in _LAYER]
    return [Entry(name, (name,)) for name in ("embedding.weight", *layers, *_HEAD)]


def full_names(names: Iterable[str], config: RecurrentConfig) -> dict[str, str]:
    """Each name stands for itself."""
    return {name: name for name in names}


def new(config: RecurrentConfig, n_labels: int, labelled: bool, found: Container[str]) -> set[str]:
    """A new classifier's head, which no file gives."""
    return set(_HEAD) if n_labels and not labelled else set()


def unused(config: RecurrentConfig, n_labels: int, found: Iterable[str]) -> set[str]:
    """The language model's head, where a new classifier's takes its place under the same name."""
    return set(_HEAD) & set(found) if n_labels else set()


def copies(config: RecurrentConfig) -> dict[str, str]:
    """No tensor is there twice."""
    return {}
