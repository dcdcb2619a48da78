"""Memory is looked at before it is taken."""

import pytest
import torch

from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.schema import DecoderConfig
from bigtrain.parallel import memory
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import DeviceConfig, DeviceKind


def test_the_choice_for_any_number_of_processes_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = DecoderConfig(dim=16, n_layers=1, n_heads=2, max_seq_len=64).resolved(64)
    model = materialise(Decoder.on_meta(shape), torch.device("cpu"), 1)
    placement = Placement.start(DeviceConfig(kind=DeviceKind.cpu))
    row = 64 * memory.activation_bytes(model, placement.precision, compiled=False)

    def chosen(free: float) -> int:
        monkeypatch.setattr(memory, "free_bytes", lambda _: free + memory.state_bytes(model))
        return memory.choose_micro_batch_for_any(model, 16, 64, placement, compiled=False)

    assert chosen(100 * row) == chosen(17 * row) == 16  # whatever is free
    with pytest.raises(UserError, match=r"(?s)reduction=exact.* 16 rows.*give train\.micro_batch_rows=4$"):
        chosen(6 * row)
    with pytest.raises(UserError, match=r"(?s)reduction=exact.*micro_batch_rows=1$"):
        chosen(0)
