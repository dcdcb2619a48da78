"""A fixture for tests that compose the packaged configs many times."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigtrain.config import compose, folders, loading, sweep


@pytest.fixture(scope="module", autouse=True)
def _packaged_configs_are_composed_once() -> Iterator[None]:
    """Composing takes Hydra 50 ms; the packaged files do not change during the tests."""
    memory: dict[Any, compose.Composition] = {}

    def remembered(name: str, groups: Any, searched: list[Path]) -> compose.Composition:
        if searched != [folders.packaged()]:
            return compose.compose(name, groups, searched)
        key = (name, tuple(groups.items()))
        if key not in memory:
            memory[key] = compose.compose(name, groups, searched)
        return memory[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "compose", remembered)
        patch.setattr(sweep, "compose", remembered)
        patch.setenv(folders.ENVIRONMENT, "")
        yield
