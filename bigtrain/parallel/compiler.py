"""What `torch.compile` needs from the machine it compiles on."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import torch


def make_ready() -> None:
    """Let C++ be compiled where torch lies in a path with spaces.

    Up to 2.13, torch hands the folder of its libraries to the compiler without quotes (pytorch pull request 191010). A
    link without spaces stands in for it, in the folder where torch keeps what it compiles.
    """
    if " " not in torch.__file__:
        return
    from torch._inductor.runtime.cache_dir_utils import cache_dir
    from torch.utils import cpp_extension

    folder = cpp_extension.TORCH_LIB_PATH
    if " " not in folder:  # done before
        return
    link = Path(cache_dir()) / f"libraries-{hashlib.sha256(folder.encode()).hexdigest()[:16]}"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(folder)
    cpp_extension.TORCH_LIB_PATH = str(link)
