"""The arithmetic that a process is set to."""

import re

import pytest
import torch

from bigtrain.parallel.hardware import worst_error
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import DeviceConfig, DeviceKind, Fp32Matmul, Precision


def test_a_run_says_what_the_fast_products_cost(caplog: pytest.LogCaptureFixture) -> None:
    threads, cpu = torch.get_num_threads(), torch.device("cpu")
    exact = DeviceConfig(DeviceKind.cpu, Precision.fp32)
    fast = DeviceConfig(DeviceKind.cpu, Precision.fp32, fp32_matmul=Fp32Matmul.fast)
    try:
        with caplog.at_level("INFO", logger="bigtrain"):
            Placement.start(exact)
            assert worst_error(cpu, torch.float32) < 1.5e-4
            assert 0.1 < worst_error(cpu, torch.bfloat16) < 1
            assert "fp32_matmul" not in caplog.text
            Placement.start(fast)
            found = worst_error(cpu, torch.float32)  # of fp32 or of bf16: it depends on the processor
        said = re.search(r"device\.fp32_matmul=fast: products here err by up to (\S+) ", caplog.text)
        assert said
        assert float(said[1]) == float(f"{found:.0e}")
    finally:
        Placement.start(exact)
        torch.set_num_threads(threads)
