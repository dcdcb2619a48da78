"""An honest yardstick for a language model: what file compressors need for the same held-out files of `data=stdlib`.

    bigtrain evaluate checkpoint=runs/demo data=stdlib --json | python scripts/yardstick.py

Bits per byte of text, lower is better. The compressors see all held-out files as one stream; `xz, primed` has read the
training text before them, as the model has, and is charged for the held-out part only.
"""

import bz2
import gzip
import json
import lzma
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bigtrain.data.reading.sources import documents
from bigtrain.data.schema import Builtin, DataConfig
from bigtrain.data.split import PARTS, TRAIN, VALIDATION, Split, stable_hash


def xz(content: bytes) -> int:
    return len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def parts() -> tuple[bytes, bytes]:
    """The training and the held-out text, split as `data=stdlib` is by default."""
    config = DataConfig(builtin=Builtin.stdlib)
    texts = [document.text.encode("utf-8") for document in documents(config)]
    hashes = np.array([stable_hash(text) for text in texts], np.uint64)
    numbers = Split(config.split_by, config.validation_fraction, config.test_fraction).numbers(hashes)
    train, held_out = (
        b"".join(text for text, number in zip(texts, numbers, strict=True) if PARTS[number] == part)
        for part in (TRAIN, VALIDATION)
    )
    return train, held_out


def main() -> None:
    metrics = json.load(sys.stdin)
    train, held_out = parts()
    jobs: dict[str, Callable[[], int]] = {
        "gzip -9": lambda: len(gzip.compress(held_out, 9)),
        "bz2 -9": lambda: len(bz2.compress(held_out, 9)),
        "xz -9e": lambda: xz(held_out),
        "train": lambda: xz(train),
        "both": lambda: xz(train + held_out),
    }
    with ThreadPoolExecutor() as pool:  # the compressors let go of the interpreter's lock
        running = {name: pool.submit(job) for name, job in jobs.items()}
    sizes = {name: job.result() for name, job in running.items()}
    sizes["xz -9e, primed with the training text"] = sizes.pop("both") - sizes.pop("train")

    model = metrics["bits_per_byte"]
    print(f"{len(held_out):,} held-out bytes     bits per byte   model / it")
    for name, size in sizes.items():
        bits = 8 * size / len(held_out)
        print(f"{name:38} {bits:6.3f} {model / bits:12.2f}")
    print(f"{'the model':38} {model:6.3f}")


if __name__ == "__main__":
    main()
