"""Tiny models with weights large enough that their texts are not all alike."""

from typing import Any

import torch

from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.schema import Architecture, DecoderConfig


def decoder(architecture: str = "llama", output: Output = LANGUAGE, seed: int = 11, **fields: Any) -> Decoder:
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 48, **fields}
    model = Decoder.on_meta(DecoderConfig(architecture=Architecture(architecture), **sizes).resolved(257), output)
    materialise(model, torch.device("cpu"), seed)
    with torch.no_grad():
        for matrix in model.hidden_matrices():
            matrix.mul_(8)
    return model
