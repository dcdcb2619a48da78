"""What is done to a document between reading it and comparing it with the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bigtrain.data.cleaning.schema import CleanConfig
from bigtrain.data.contamination_schema import DecontaminateConfig
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.privacy.schema import PiiAction, PiiConfig
from bigtrain.data.schema import Format, WordBoundaries
from bigtrain.environment import version

_RULES = {"clean": "2", "pii": "2"}  # changes when the same settings would give other bytes
_HTML_PACKAGES = ("trafilatura", "lxml")


@dataclass(frozen=True)
class Steps:
    """The steps that are taken; None: not taken."""

    clean: CleanConfig | None = None
    clean_by_source: Mapping[str, CleanConfig] = field(default_factory=dict)  # instead of `clean`
    decontaminate: DecontaminateConfig | None = None
    pii: PiiConfig | None = None
    dedup: DedupConfig | None = None
    index: Path | None = None  # folder of what `decontaminate` looks for, once it is made

    def __hash__(self) -> int:
        return hash(repr(self))

    @classmethod
    def of(
        cls,
        clean: CleanConfig,
        decontaminate: DecontaminateConfig,
        pii: PiiConfig,
        dedup: DedupConfig,
        clean_by_source: Mapping[str, CleanConfig] | None = None,
    ) -> Steps:
        """Those of these that do something."""
        return cls(
            clean if clean != CleanConfig() else None,
            clean_by_source or {},
            decontaminate if decontaminate.files or decontaminate.sources else None,
            pii if pii.action is not PiiAction.none else None,
            dedup if dedup.documents or dedup.paragraphs or dedup.near else None,
        )

    def cleaning(self) -> list[CleanConfig]:
        """All that some document is cleaned by."""
        return [
            config for config in (self.clean, *self.clean_by_source.values()) if config not in (None, CleanConfig())
        ]

    def check(self) -> None:
        """Raises UserError where a package, a language or a list that a step needs is not there."""
        for config in self.cleaning():
            from bigtrain.data.cleaning.cleaner import Cleaner

            Cleaner(config)

    @property
    def names(self) -> list[str]:
        """The stages that documents go through between reading and the split."""
        dedup = self.dedup or DedupConfig()
        taken = {
            "clean": self.cleaning(),
            "decontaminate": self.decontaminate,
            "pii": self.pii,
            "exact": dedup.documents,
            "near": dedup.near,
            "paragraphs": dedup.paragraphs,
        }
        return [name for name, is_taken in taken.items() if is_taken]

    def settings(self) -> dict[str, Any]:
        """All of them as plain data; what a file says stands in `provenance`, not where it lies."""
        taken = {"clean": self.clean, "decontaminate": self.decontaminate, "pii": self.pii, "dedup": self.dedup}
        settings = {name: asdict(step) if step else None for name, step in taken.items()}
        by_source = {name: asdict(step) for name, step in self.clean_by_source.items()}
        for clean in (settings["clean"], *by_source.values()):
            if clean:
                clean["words"].pop("file")
        if by_source:
            settings["clean_by_source"] = by_source
        if decontaminate := settings["decontaminate"]:
            decontaminate = {key: value for key, value in decontaminate.items() if key not in ("files", "sources")}
        return settings | {"decontaminate": decontaminate}

    def provenance(self, formats: Iterable[Format], words: WordBoundaries) -> dict[str, str]:
        """What decides the bytes besides bigtrain and its settings: versions of packages, contents of files."""
        found = {name: version(name) or "" for name in _HTML_PACKAGES} if Format.html in formats else {}
        if words is WordBoundaries.jieba:
            found["jieba"] = version("jieba") or ""
        for config in self.cleaning():
            from bigtrain.data.cleaning.cleaner import provenance

            found |= provenance(config) | {"clean": _RULES["clean"]}
        if self.pii:
            found["pii"] = _RULES["pii"]
        return found
