"""The decoder on a CUDA device against the CPU."""

from typing import Any

import pytest
import torch

from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.layers import keyed_dropout
from bigtrain.models.schema import Architecture, DecoderConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def decoder(architecture: str, device: str) -> Decoder:
    sizes: dict[str, Any] = {"dim": 128, "n_layers": 2, "n_heads": 4, "max_seq_len": 96, "vocab_size": 320}
    if architecture != "gpt2":
        sizes["n_kv_heads"] = 2
    if architecture == "mistral":
        sizes["sliding_window"] = 20
    config = DecoderConfig(architecture=Architecture(architecture), dropout=0.1, **sizes).resolved(0)
    model = Decoder.on_meta(config)
    materialise(model, torch.device(device), 1)
    with torch.no_grad():
        for matrix in model.hidden_matrices():
            matrix.mul_(4)
    return model


@pytest.mark.parametrize("architecture", list(Architecture))
@pytest.mark.parametrize("isolated", [False, True])
def test_logits_and_gradients_are_those_of_the_cpu(architecture: str, isolated: bool) -> None:
    tokens = torch.randint(0, 320, (3, 90), generator=torch.Generator().manual_seed(0))
    documents = (torch.arange(90) // 37).expand(3, -1).int()
    inputs = {"keys": torch.tensor([1, 2, 3]), **({"documents": documents} if isolated else {})}
    results: dict[tuple[str, bool], tuple[torch.Tensor, list[torch.Tensor]]] = {}
    for device, bf16 in (("cpu", False), ("cuda", False), ("cuda", True)):
        model = decoder(architecture, device)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            hidden = model(tokens.to(device), **{name: tensor.to(device) for name, tensor in inputs.items()})
            logits = model.logits(hidden).float()
        logits.square().mean().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        results[device, bf16] = logits.detach().cpu(), [gradient.cpu() for gradient in gradients]
    expected, gradients = results["cpu", False]
    for bf16, tolerance in ((False, 1e-4), (True, 0.05)):
        got, got_gradients = results["cuda", bf16]
        assert (got - expected).abs().max() < tolerance * expected.abs().max()
        largest = max(gradient.abs().max() for gradient in gradients)
        for one, other in zip(got_gradients, gradients, strict=True):
            assert (one - other).abs().max() < tolerance * largest


def test_dropout_masks_are_those_of_the_cpu() -> None:
    x, keys = torch.randn(4, 33, 65), torch.tensor([0, 5, 2**40, -3])
    expected = keyed_dropout(x, 0.3, keys, 1)
    assert torch.equal(keyed_dropout(x.cuda(), 0.3, keys.cuda(), 1).cpu(), expected)
    compiled = torch.compile(keyed_dropout, dynamic=False)
    assert torch.equal(compiled(x.cuda(), 0.3, keys.cuda(), 1).cpu(), expected)
