"""The card's own bf16 matrix product: median TFLOP/s of n x n x n on random data. Prints one number."""

import statistics
import sys
import time

import torch


def main(device: str, n: int) -> None:
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    rates = []
    for _ in range(15):
        began = time.perf_counter()
        for _ in range(5):
            torch.mm(a, b, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        rates.append(5 * 2 * n**3 / (time.perf_counter() - began) / 1e12)
    print(statistics.median(rates[3:]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
