"""What happened to the documents: counts and a few examples, taken part by part and added up in the parts' order."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

FILE = "facts.json"
STAGES = ("read", "clean", "decontaminate", "pii", "exact", "near", "paragraphs", "split")
EXAMPLE_CHARACTERS = 300
_MOST, _MOST_OTHERS = {"contamination": 40, "errors": 40}, 5  # examples kept of a kind
LENGTHS = (0, *sorted({round(2 ** (n / 4)) for n in range(121)}))  # edges of the bins of lengths, in characters


class Tally:
    """Counts of one part."""

    def __init__(self) -> None:
        self.facts: Facts = {}

    def add(self, /, *path: str, **amounts: int) -> None:
        """Add to the counts below `path`."""
        here = self._at(path)
        for name, amount in amounts.items():
            here[name] = here.get(name, 0) + amount

    def example(self, *path: str, example: Any) -> None:
        """Keep an example below `path`, if it is one of the first."""
        if self.wants_example(*path) and example not in (examples := self._at(path[:-1]).setdefault(path[-1], [])):
            examples.append(example)

    def wants_example(self, *path: str) -> bool:
        """Whether an example below `path` would be kept."""
        return len(self._at(path[:-1]).get(path[-1], [])) < _most(path[0])

    def passed(self, stage: str, bytes_in: int, bytes_out: int) -> None:
        """A document that stays."""
        self.add("stages", stage, documents_in=1, documents_out=1, bytes_in=bytes_in, bytes_out=bytes_out)

    def dropped(self, stage: str, reason: str, n_bytes: int, source: str) -> None:
        """A document that goes."""
        self.add("stages", stage, documents_in=1, documents_out=0, bytes_in=n_bytes, bytes_out=0)
        self.gone(stage, reason, n_bytes, {source: 1})

    def gone(self, stage: str, reason: str, n_bytes: int, by_source: Mapping[str, int]) -> None:
        """Why documents go, and how many of each source."""
        path = ("stages", stage, "reasons", reason)
        self.add(*path, documents=sum(by_source.values()), bytes=n_bytes)
        self.add(*path, "sources", **by_source)

    def histogram(self, *path: str, value: float, edges: Sequence[float]) -> None:
        """Count a value in its bin; what lies outside belongs to the bin at that end."""
        self.add(*path, **{str(min(max(bisect.bisect(edges, value) - 1, 0), len(edges) - 2)): 1})

    def _at(self, path: Iterable[str]) -> Facts:
        here = self.facts
        for name in path:
            here = here.setdefault(name, {})
        return here

    def save(self, folder: Path) -> None:
        """Write the facts into the result of a part."""
        (folder / FILE).write_text(json.dumps(self.facts, ensure_ascii=False), encoding="utf-8")


def _most(name: str) -> int:
    return _MOST.get(name, _MOST_OTHERS)


def utf8_size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def load(folder: Path) -> Facts:
    """What `Tally.save` wrote."""
    facts: Facts = json.loads((folder / FILE).read_bytes())
    return facts


def add_up(total: Facts, more: Mapping[str, Any], kind: str = "") -> None:
    """Add `more` to `total`: numbers are summed, of lists the first different entries stay.

    kind: what both are facts of; everything, by default.
    """
    for name, value in more.items():
        if isinstance(value, Mapping):
            add_up(total.setdefault(name, {}), value, kind or name)
        elif isinstance(value, list):
            before = total.get(name, [])
            total[name] = (before + [example for example in value if example not in before])[: _most(kind or name)]
        else:
            total[name] = total.get(name, 0) + value


def edges_and_counts(bins: Mapping[str, int], edges: Sequence[float]) -> dict[str, list[float]]:
    """What `histogram` counted, from the first bin that holds something to the last: one more edge than counts."""
    numbers = range(min(map(int, bins)), max(map(int, bins)) + 1)
    return {
        "edges": list(edges[numbers.start : numbers.stop + 1]),
        "documents": [bins.get(str(number), 0) for number in numbers],
    }
