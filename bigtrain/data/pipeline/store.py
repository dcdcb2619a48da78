"""The documents of a part on disk, after cleaning: their text and what later stages must know of each.

texts.bin       the texts in UTF-8, one after the other
table.bin       (documents,) of DOCUMENT
names.json      files, sources and languages, which the numbers in the table stand for
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from bigtrain.data.shards import mapped
from bigtrain.data.split import stable_hash

DOCUMENT = np.dtype(
    [
        ("end", "<i8"),  # of its text in texts.bin
        ("characters", "<i8"),
        ("hash", "<u8"),  # of its text
        ("group", "<u8"),  # of its group; of its text, where it has none
        ("line", "<i8"),  # of its row; 0: the file is the document
        ("file", "<i4"),
        ("source", "<i4"),
        ("language", "<i4"),
    ]
)
_TEXTS, _TABLE, _NAMES = "texts.bin", "table.bin", "names.json"
_HELD = 1024  # rows of the table that wait as Python's numbers, which take far more than they do in the file


class DocumentWriter:
    """Fills the folder of a part. Usable as a context manager, at whose end the folder is complete."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._end = folder, 0
        self._texts, self._table = open(folder / _TEXTS, "wb"), open(folder / _TABLE, "wb")  # noqa: SIM115  # by __exit__
        self._rows: list[tuple[int, ...]] = []
        self._names: dict[str, dict[str, int]] = {"files": {}, "sources": {}, "languages": {}}

    def add(self, text: str, content: bytes, *, group: str | None, line: int | None, **names: str) -> None:
        """Append a document; content: the text in UTF-8, names: its `files`, `sources` and `languages`."""
        self._texts.write(content)
        self._end += len(content)
        of_text = stable_hash(content)
        of_group = of_text if group is None else stable_hash(group.encode("utf-8"))
        numbers = (known.setdefault(names[kind], len(known)) for kind, known in self._names.items())
        self._rows.append((self._end, len(text), of_text, of_group, line or 0, *numbers))
        if len(self._rows) == _HELD:
            self._flush()

    def _flush(self) -> None:
        self._table.write(np.array(self._rows, DOCUMENT).tobytes())
        self._rows.clear()

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._texts, self._table:
            if kind is not None:
                return
            self._flush()
        names = {kind: list(known) for kind, known in self._names.items()}
        (self._folder / _NAMES).write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")


class Documents(Sequence[str]):
    """The texts of a part, mapped into memory, with their table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = np.asarray(mapped(folder / _TABLE, DOCUMENT))
        names = json.loads((folder / _NAMES).read_bytes())
        self.files, self.sources, self.languages = names["files"], names["sources"], names["languages"]
        self._texts, self._ends = np.asarray(mapped(folder / _TEXTS, np.dtype(np.uint8))), self.table["end"]

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self._texts[self._ends[index - 1] if index else 0 : self._ends[index]].tobytes().decode("utf-8")

    def where(self, index: int) -> dict[str, Any]:
        """File and line of a document, as in an example."""
        row = self.table[index]
        return {"file": self.files[row["file"]], "line": int(row["line"]) or None}
