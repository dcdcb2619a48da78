"""The compiler works wherever torch is installed."""

from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from bigtrain.parallel import compiler


def test_a_path_with_spaces_gets_a_link_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = tmp_path / "with space" / "torch" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "libtorch.so").touch()
    monkeypatch.setattr(torch, "__file__", str(libraries.parent / "__init__.py"))
    monkeypatch.setattr(cpp_extension, "TORCH_LIB_PATH", str(libraries))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    (tmp_path / "compiled").mkdir()
    for _ in range(2):  # a second call finds it done
        compiler.make_ready()
        assert " " not in cpp_extension.TORCH_LIB_PATH
        assert (Path(cpp_extension.TORCH_LIB_PATH) / "libtorch.so").exists()


def test_a_path_without_spaces_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__file__", "/lib/torch/__init__.py")
    monkeypatch.setattr(cpp_extension, "TORCH_LIB_PATH", "/any where/torch/lib")
    compiler.make_ready()
    assert cpp_extension.TORCH_LIB_PATH == "/any where/torch/lib"
