"""What a run needs: bytes of memory and disk, estimated before anything is allocated."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from bigtrain.errors import UserError
from bigtrain.models.base import Model, n_parameters, n_trained
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import Precision

_WEIGHT_BYTES = 4  # fp32
_MOMENT_BYTES = 8  # two of them
_GRADIENT_BYTES = 4
_CPU_TOKENS = 16384  # larger micro-batches are no faster on a CPU


def state_bytes(model: Model) -> int:
    """Weights, and gradients and moments of what is trained."""
    return _WEIGHT_BYTES * n_parameters(model) + (_GRADIENT_BYTES + _MOMENT_BYTES) * n_trained(model)


def saved_bytes(model: Model) -> int:
    """A checkpoint: weights (of an adapted model what is trained), and the moments of what is trained."""
    saved = n_trained(model) if model.adapter else n_parameters(model)
    return _WEIGHT_BYTES * saved + _MOMENT_BYTES * n_trained(model)


def activation_bytes(model: Model, precision: Precision, *, compiled: bool) -> float:
    """Memory that a token of a micro-batch needs from forward to backward.

    Counted from what a block keeps for its backward: about ten vectors of the stream's width (inputs of norms in fp32,
    q, k, v, attention's output) and three of the MLP's, and the head's logits with their fp32 copies.
    """
    config = model.config
    assert config.mlp_dim is not None
    assert config.vocab_size is not None
    item = 2 if precision is Precision.bf16 else 4
    block = config.dim * (8 * item + 8) + config.mlp_dim * 3 * item
    head = (model.output.size or config.vocab_size) * (item + (4 if compiled else 8))
    return 1.2 * (config.n_layers * block + head)


def free_bytes(placement: Placement) -> float:
    """Memory of the device that is free now; of a CPU, this process's share."""
    if placement.device.type == "cuda":
        return float(torch.cuda.mem_get_info(placement.device)[0])
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # macOS does not say
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return pages / int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _total_bytes(placement: Placement) -> float:
    if placement.device.type == "cuda":
        return float(torch.cuda.mem_get_info(placement.device)[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def require_memory(model: Model, placement: Placement) -> None:
    """Refuse, before anything is allocated, a model that the device could never train. Raises UserError."""
    parameters, total = n_parameters(model), _total_bytes(placement)
    if (need := _WEIGHT_BYTES * parameters + _GRADIENT_BYTES * n_trained(model)) > total:
        raise UserError(
            f"a model of {parameters:,} parameters on {placement.device}",
            f"weights and gradients alone take {need / 1e9:.1f} GB, and a process has {total / 1e9:.1f} GB",
            "choose a smaller model; --dry-run shows what a run takes",
        )


@contextlib.contextmanager
def out_of_memory_is_an_error(rows: int, key: str = "train.micro_batch_rows") -> Iterator[None]:
    """Turn what torch raises when memory runs out into a UserError that names the key to lower.

    rows: computed at once, by the key; 0 where a model is loaded.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not known:
            raise
        said = (str(error).splitlines() or ["out of memory"])[0]
        if not rows:
            rule = "a model must fit into the device's memory"
            raise UserError(f"loading the model: {said}", rule, "choose a smaller model, or another device=") from error
        trains = key.startswith("train.")
        raise UserError(
            f"{key}={rows}: {said}",
            f"a {'micro-' * trains}batch must fit into the device's memory together with the model"
            + " and its optimizer" * trains,
            f"give {key}={rows // 2}"
            if rows > 1
            else f"choose {'a shorter train.seq_len' if trains else 'shorter texts'}, or a smaller model",
        ) from error


def choose_micro_batch(model: Model, rows: int, seq_len: int, placement: Placement, *, compiled: bool) -> int:
    """The largest divisor of `rows`, the rows of one part of the global batch, that fits into 80 % of free memory."""
    free = 0.8 * free_bytes(placement) - state_bytes(model)
    tokens = free / activation_bytes(model, placement.precision, compiled=compiled)
    if placement.device.type == "cpu":
        tokens = min(tokens, _CPU_TOKENS)
    return _largest_divisor(rows, tokens / seq_len)


def choose_micro_batch_for_any(model: Model, rows: int, seq_len: int, placement: Placement, *, compiled: bool) -> int:
    """The same, whatever memory is free: with `exact` the choice must not depend on the number of processes.

    For a model that has its memory. Raises UserError where there is not enough for the choice.
    """
    chosen = _largest_divisor(rows, _CPU_TOKENS / seq_len)
    free = free_bytes(placement) - state_bytes(model) + _WEIGHT_BYTES * n_parameters(model)
    of_row = seq_len * activation_bytes(model, placement.precision, compiled=compiled)
    if chosen * of_row > free:
        fitting = _largest_divisor(rows, 0.8 * free / of_row)
        raise UserError(
            f"parallel.reduction=exact with micro-batches of {chosen} rows of {seq_len} tokens",
            f"they take about {chosen * of_row / 1e9:.1f} GB, and {max(0, free) / 1e9:.1f} GB are free; the choice is "
            "the same for any number of processes, so it does not look at the memory",
            f"give train.micro_batch_rows={fitting}"
            if fitting < chosen
            else "choose a shorter train.seq_len, or a smaller model",
        )
    return chosen


def _largest_divisor(rows: int, bound: float) -> int:
    return max(n for n in range(1, rows + 1) if rows % n == 0 and (n == 1 or n <= bound))
