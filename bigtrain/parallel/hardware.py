"""What devices can do at most."""

from __future__ import annotations

import torch

from bigtrain.parallel.schema import Precision

# Dense bf16 FLOP/s from the makers' data sheets, by a word of the name that torch gives.
_BF16_PEAK = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "4090": 165e12,
    "A10": 125e12,
}


def worst_error(device: torch.device, dtype: torch.dtype, n: int = 512) -> float:
    """Largest absolute error of a product of two n x n matrices of normal numbers, against float64.

    With n of 512, 1e-4 or less in fp32 and 0.3 to 0.4 in bf16.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, n, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    product = a.to(device, dtype) @ b.to(device, dtype)
    return float((product.cpu().double() - exact).abs().max())


def peak_flops(device: torch.device, precision: Precision) -> float | None:
    """Dense FLOP/s of a device in bf16; None where it is not known, as for a CPU, and in fp32."""
    if device.type != "cuda" or precision is not Precision.bf16:
        return None
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    if "H100" in words and "PCIe" in words:
        return 756e12
    return next((_BF16_PEAK[word] for word in words if word in _BF16_PEAK), None)
