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


@pytest.fixture(scope="session")
def prepared_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared set: bytes of a small language, many documents."""
    import json

    from harness import run_verb, text

    folder = tmp_path_factory.mktemp("data")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text(60, seed)}) + "\n" for seed in range(80)))
    run_verb(
        "prepare", [f"data.files={rows}", "tokenizer=bytes", f"output={folder / 'set'}", "data.validation_fraction=0.1"]
    )
    return folder / "set"
