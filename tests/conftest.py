"""Shared fixtures."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data sets; it is not part of the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BIGTRAIN_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data sets not found: {folder} (set BIGTRAIN_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache; one per process, so that prepared sets are shared between tests."""
    base = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("BIGTRAIN_CACHE", str(base))
