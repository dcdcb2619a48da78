"""The first stage: a part of the input is read, cleaned and searched, and what is left of it is stored."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bigtrain.data.cleaning.schema import CleanConfig
from bigtrain.data.cleaning.scores import EDGES, Broken
from bigtrain.data.contamination_schema import OverlapAction
from bigtrain.data.dedup.signatures import write_signatures
from bigtrain.data.pipeline.facts import EXAMPLE_CHARACTERS, Tally, utf8_size
from bigtrain.data.pipeline.plan import Part, unpacked_bytes
from bigtrain.data.pipeline.results import result
from bigtrain.data.pipeline.steps import Steps
from bigtrain.data.pipeline.store import Documents, DocumentWriter
from bigtrain.data.reading.sources import Document, Problems, read
from bigtrain.data.schema import OnError
from bigtrain.errors import UserError


@dataclass(frozen=True)
class DocumentsJob:
    """One part of this stage. Picklable."""

    part: Part
    steps: Steps
    names: Mapping[str, str]  # of the part's files and the evaluation sets, in reports
    on_error: OnError
    max_errors: int | None
    folder: Path
    progress: Callable[[float], None] | None = None  # called with amounts of `part.n_bytes`; not where it travels

    @property
    def number(self) -> int:
        """Of the part."""
        return self.part.number


@dataclass(frozen=True)
class DocumentsDone:
    """What the command must know of a part before all are done."""

    number: int
    n_errors: int
    error: UserError | None  # the last one


class _Tools:
    """What is built once in each process; what is not asked for is not imported either."""

    def __init__(self, steps: Steps) -> None:
        self.clean, self.index, self.scrub = None, None, None
        if steps.cleaning():
            from bigtrain.data.cleaning.cleaner import Cleaner

            self.clean = Cleaner(steps.clean or CleanConfig())
            self.clean_by_source = {name: Cleaner(config) for name, config in steps.clean_by_source.items()}
        if steps.index:
            from bigtrain.data.contamination import Index

            self.index = Index.load(steps.index)
        if steps.pii:
            from bigtrain.data.privacy.scrubber import Scrubber

            self.scrub = Scrubber(steps.pii)


def excerpt(text: str) -> str:
    """The beginning of a text, without personal data."""
    from bigtrain.data.privacy.scrubber import scrub

    # Masked before it is cut: half of a card number would not be known as one.
    masked = scrub(text[: 2 * EXAMPLE_CHARACTERS])
    return masked if len(masked) <= EXAMPLE_CHARACTERS else f"{masked[:EXAMPLE_CHARACTERS]} …"


@functools.lru_cache(maxsize=2)
def tools(steps: Steps) -> _Tools:
    """The tools for these steps."""
    return _Tools(steps)


def make_documents(job: DocumentsJob) -> DocumentsDone:
    """Leave the documents of a part in its folder. Raises UserError for input that cannot be read."""
    tally, problems, last = Tally(), Problems(job.on_error, job.max_errors), list[UserError]()

    def problem(error: UserError) -> None:
        problems(error)
        last[:] = [error]
        tally.add("errors", count=1)
        tally.example("errors", "examples", example=excerpt(_renamed(error.given, job.names)))

    with result(job.folder) as folder:
        with DocumentWriter(folder) as writer:
            one = _OnePart(tools(job.steps), job, writer, tally)
            for document in itertools.islice(_read(job, problem, one.empty), job.part.most):
                one.add(document)
        if job.steps.dedup:
            write_signatures(Documents(folder), job.steps.dedup, folder)
        tally.save(folder)
    return DocumentsDone(job.part.number, problems.count, last[0] if last else None)


def _read(
    job: DocumentsJob, problem: Callable[[UserError], None], empty: Callable[[Document], None]
) -> Iterator[Document]:
    for piece in job.part.pieces:
        progress = functools.partial(_told, job.progress, unpacked_bytes(piece.source)) if job.progress else None
        yield from read(piece, problem, empty, progress)


def _told(progress: Callable[[float], None], factor: int, n_bytes: int) -> None:
    progress(factor * n_bytes)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for path, name in names.items():
        text = text.replace(path, name)
    return text


class _OnePart:
    """Takes the documents of a part through the steps."""

    def __init__(self, tools: _Tools, job: DocumentsJob, writer: DocumentWriter, tally: Tally) -> None:
        self.tools, self.writer, self.tally = tools, writer, tally
        self.names = job.names
        self.drops_overlaps = job.steps.decontaminate and job.steps.decontaminate.action is OverlapAction.drop

    def empty(self, document: Document) -> None:
        """Count a document without a character."""
        self.tally.add("sources", document.source, documents=1)
        self.tally.add("sources", document.source, "missing", **dict.fromkeys(document.missing, 1))
        if document.page:
            from bigtrain.data.reading.html import all_text

            self._drop(document, "read", "no_main_text", all_text(document.page), utf8_size(document.page))
        else:
            self._drop(document, "read", "empty", "", 0)

    def add(self, document: Document) -> None:
        """Store what is left of a document, unless it is dropped."""
        text: str | None = document.text
        assert text is not None
        n_bytes = utf8_size(text)
        source = document.source
        self.tally.add("sources", source, documents=1, bytes=n_bytes, replacements=document.replacements)
        self.tally.add("sources", source, "encodings", **{document.encoding: 1})
        self.tally.add("sources", source, "missing", **dict.fromkeys(document.missing, 1))
        self.tally.passed("read", utf8_size(document.page or text), n_bytes)
        language = ""
        if self.tools.clean:
            text, language = self._clean(document, text, n_bytes)
        if text is not None and self.tools.index:
            text = self._decontaminate(document, text)
        if text is not None and self.tools.scrub:
            text = self._scrub(document, text)
        if text:
            self.writer.add(
                text,
                text.encode("utf-8"),
                group=document.group,
                line=document.line,
                files=self.names[document.file],
                sources=source,
                languages=language,
            )

    def _clean(self, document: Document, text: str, n_bytes: int) -> tuple[str | None, str]:
        assert self.tools.clean
        cleaned = self.tools.clean_by_source.get(document.source, self.tools.clean)(text)
        for name, score in cleaned.scores.items():
            self.tally.histogram("quality", name, value=score, edges=EDGES[name])
        if cleaned.edits:
            self.tally.add("edits", **cleaned.edits)
        broken = cleaned.broken or (None if cleaned.text else Broken("empty"))
        if broken:
            self._drop(document, "clean", broken.rule, text, n_bytes, broken, cleaned.language)
            return None, ""
        self.tally.passed("clean", n_bytes, utf8_size(cleaned.text))
        return cleaned.text, cleaned.language or ""

    def _decontaminate(self, document: Document, text: str) -> str | None:
        assert self.tools.index
        n_bytes, overlap = utf8_size(text), self.tools.index.find(text)
        if overlap is not None:
            place = {"evaluation_file": self.names[overlap.file], "evaluation_line": overlap.line}
            shown = excerpt(overlap.text)
            self.tally.example("contamination", example={**self._where(document), **place, "text": shown})
            if self.drops_overlaps:
                self._drop(document, "decontaminate", "overlap", text, n_bytes)
                return None
        self.tally.passed("decontaminate", n_bytes, n_bytes)
        return text

    def _scrub(self, document: Document, text: str) -> str | None:
        assert self.tools.scrub
        n_bytes, scrubbed = utf8_size(text), self.tools.scrub(text)
        for kind, count in scrubbed.counts.items():
            self.tally.add("personal", kind, count=count)
            for sample in scrubbed.samples.get(kind, []):
                self.tally.example("personal", kind, "samples", example=sample)
        if scrubbed.dropped:
            self._drop(document, "pii", next(iter(scrubbed.counts), "pii"), text, n_bytes)
            return None
        self.tally.passed("pii", n_bytes, utf8_size(scrubbed.text))
        return scrubbed.text

    def _drop(
        self,
        document: Document,
        stage: str,
        reason: str,
        text: str,
        n_bytes: int,
        broken: Broken | None = None,
        language: str | None = None,
    ) -> None:
        self.tally.dropped(stage, reason, n_bytes, document.source)
        path = ("stages", stage, "reasons", reason)
        if language:
            self.tally.add(*path, "languages", **{language: 1})
        if self.tally.wants_example(*path, "examples"):
            why = {"language": language, "score": broken and broken.score, "limit": broken and broken.limit}
            known = {name: value for name, value in why.items() if value is not None}
            self.tally.example(*path, "examples", example={**self._where(document), **known, "text": excerpt(text)})

    def _where(self, document: Document) -> dict[str, str | int | None]:
        return {"file": self.names[document.file], "line": document.line}
