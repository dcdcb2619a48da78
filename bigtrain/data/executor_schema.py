"""Config of the executor: what works on the parts of the input."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.errors import UserError
from bigtrain.options import option


@dataclass
class LocalConfig:
    """Processes on this machine; none are started where there is little to do."""

    name: str = option("local", "the kind")
    workers: int | None = option(None, "processes; null: one for each usable core", at_least=1)


@dataclass
class DaskConfig:
    """An existing Dask cluster whose workers see the input and the output folder under the same paths."""

    name: str = option("dask", "the kind")
    address: str | None = option(None, "the scheduler's, such as tcp://10.0.0.1:8786")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if not self.address:
            raise UserError(
                "executor=dask", "the scheduler's address must be named", "give executor.address=tcp://HOST:8786"
            )


ExecutorConfig = LocalConfig | DaskConfig
