"""The stages in their order: what each part leaves, and what is done with all of them together."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from bigtrain.data.executor import Workers, dask_workers, local_workers
from bigtrain.data.executor_schema import DaskConfig, ExecutorConfig, LocalConfig
from bigtrain.data.pipeline.display import Display, Stage
from bigtrain.data.pipeline.documents import DocumentsDone, DocumentsJob, make_documents
from bigtrain.data.pipeline.duplicates import compare, is_compared
from bigtrain.data.pipeline.facts import Facts, load
from bigtrain.data.pipeline.nothing import nothing_learned, nothing_left, nothing_to_train_on
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.pipeline.results import is_whole, result
from bigtrain.data.pipeline.samples import tokenizer_figures
from bigtrain.data.pipeline.statistics import STATISTICS, counts_by_stage, statistics
from bigtrain.data.pipeline.steps import Steps
from bigtrain.data.pipeline.store import Documents
from bigtrain.data.pipeline.tokens import Kept, Placing, TokensJob, counts_of, make_tokens, stored_tokenizer
from bigtrain.data.pipeline.work import WorkFolder
from bigtrain.data.reading.sources import Problems
from bigtrain.data.schema import TokenizerConfig
from bigtrain.data.shard_writer import ShardWriter
from bigtrain.data.split import PARTS, TRAIN, Split
from bigtrain.environment import usable_cpus
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.storage import write_json
from bigtrain.tokenizer import Tokenizer, train

_LITTLE = 16 << 20  # bytes of input that need no other process where they are only read and encoded
_LITTLE_WITH_STEPS = 2 << 20  # and where they are cleaned or compared


class _Job(Protocol):
    @property
    def number(self) -> int:
        """Of the part."""

    @property
    def folder(self) -> Path:
        """Of the result."""


class _Done(Protocol):
    @property
    def number(self) -> int:
        """Of the part."""


Job = TypeVar("Job", bound=_Job)
Done = TypeVar("Done", bound=_Done)


def local_slots(config: LocalConfig, plan: Plan) -> int:
    """How many processes work at once; 1 where starting others would take longer than the work."""
    little = _LITTLE_WITH_STEPS if plan.steps.names else _LITTLE
    if sum(part.n_bytes for part in plan.parts) <= little:
        return 1
    return min(config.workers or usable_cpus(), len(plan.parts))


class Preparation:
    """One plan in one work folder."""

    def __init__(
        self,
        plan: Plan,
        work: WorkFolder,
        executor: ExecutorConfig,
        display: Display,
        candidates: Mapping[str, Tokenizer | TokenizerConfig] | None,
    ) -> None:
        self.plan, self.work, self.executor, self.display = plan, work, executor, display
        self.candidates = candidates  # tokenizers that the set's own is compared with; None: it is not measured

    def into(self, final: Path, finish: Callable[[Path], None] | None = None) -> None:
        """Make the set. finish: called with its folder when all else is in it, before it gets its name."""
        began = time.perf_counter()
        with self._workers() as pool:
            documents = self._documents(pool)
            kept = self._duplicates(pool, documents)
            placings = self._split(kept)
            tokenizer = self._tokenizer(placings)
            measuring = self._measure(pool, placings)
            tokens = self._tokens(pool, placings)
            with pool.watched():
                measured = measuring.result() if measuring else {"vocab_size": tokenizer.vocab_size}
        figures = statistics(self.plan, documents, tokens, self.work.path / "duplicates", measured)
        for name, source in figures["sources"].items():
            if absent := [field for field, n in source["missing"].items() if n == source["documents"]]:
                log.warning("data.text_field: no row of %s has %s", name, " or ".join(absent))
        writer = self._set(tokenizer, placings[0].split, tokens, figures, final, finish)
        totals = [sum(counts[what] for counts in writer.counts.values()) for what in ("documents", "tokens")]
        seconds = time.perf_counter() - began
        n_files = f"{len(self.plan.sources)} file{'s' * (len(self.plan.sources) != 1)}"
        log.info("%s, %d documents, %d tokens in %.1f s", n_files, *totals, seconds)

    def _workers(self) -> contextlib.AbstractContextManager[Workers]:
        if isinstance(self.executor, DaskConfig):
            return dask_workers(self.executor, self.work.path)
        return local_workers(local_slots(self.executor, self.plan))

    def _documents(self, pool: Workers) -> list[Path]:
        """Read, clean and search every part. Returns the folders of their documents."""
        plan, names, steps = self.plan, self.plan.names(), self._with_index()
        evaluation = {source.path: names[source.path] for source in plan.evaluation}
        problems = Problems(plan.data.on_error, plan.data.max_errors)

        def found(job: DocumentsJob) -> None:
            if errors := load(job.folder).get("errors"):
                problems(UserError(errors["examples"][-1], "input can be read", "correct it"), errors["count"])

        def done(part: DocumentsDone) -> None:
            if part.error:
                problems(part.error, part.n_errors)

        sizes = [part.n_bytes for part in plan.parts]
        with self.display.stage("documents", sum(sizes)) as stage:
            jobs = [
                DocumentsJob(
                    part,
                    steps,
                    evaluation | {piece.source.path: names[piece.source.path] for piece in part.pieces},
                    plan.data.on_error,
                    plan.data.max_errors,
                    self.work.path / "documents" / f"{part.number:05}",
                    stage.begin if pool.inline else None,
                )
                for part in plan.parts
            ]
            self.work.reading = True
            self._each(stage, pool, make_documents, jobs, sizes, done, found)
        self.work.reading = False
        folders = [job.folder for job in jobs]
        if gone := plan.check_unchanged():
            log.warning("data.on_error=skip: gone while the input was read: %s", ", ".join(gone[:5]))
            self.plan = replace(plan, fingerprint=_of_documents(plan.fingerprint, folders))
        return folders

    def _with_index(self) -> Steps:
        """The steps, with the index of the evaluation sets made, where there are some."""
        steps, folder = self.plan.steps, self.work.path / "index"
        if steps.decontaminate is None:
            return steps
        if not folder.exists():
            from bigtrain.data.contamination import Index

            Index.build(steps.decontaminate).save(folder)
        return replace(steps, index=folder)

    def _duplicates(self, pool: Workers, documents: list[Path]) -> list[Kept]:
        """Compare all documents, where that is asked for."""
        dedup, folder = self.plan.steps.dedup, self.work.path / "duplicates"
        if dedup and not is_compared(folder):
            with self.display.stage("duplicates", 1, "") as stage:
                compare(documents, dedup, pool, folder, stage)
        return [Kept(number, part, folder if dedup else None, dedup) for number, part in enumerate(documents)]

    def _split(self, kept: list[Kept]) -> list[Placing]:
        """Settle which document is in which part."""
        data = self.plan.data
        split = Split(data.split_by, data.validation_fraction, data.test_fraction)
        n_documents, lengths = np.zeros(len(PARTS), np.int64), []
        for part in kept:
            table = part.kept_rows()
            n_documents += np.bincount(split.numbers(table["group"]), minlength=len(PARTS))
            lengths.append(int(table["characters"].sum()))
        if not n_documents.any():
            raise nothing_left(self.plan, [part.documents for part in kept])
        grouped = any(source.settings.group_field for source in self.plan.sources)
        split = split.settled(n_documents.tolist(), sum(lengths), grouped=grouped)
        starts = np.cumsum([0, *lengths]).tolist()
        weights = {source.name: source.settings.weight for source in self.plan.sources}
        placings = [Placing(part, split, start, weights) for part, start in zip(kept, starts, strict=False)]
        every = (placed for placing in placings for placed in placing.placed())
        if not any(placed.part == TRAIN and placed.copies for placed in every):  # found at once, where there is one
            raise nothing_to_train_on(self.plan)
        return placings

    def _tokenizer(self, placings: list[Placing]) -> Tokenizer:
        """The tokenizer, as it is stored for the workers."""
        folder, chosen = self.work.path / "tokenizer", self.plan.tokenizer
        if self.work.continued and is_whole(folder):
            return stored_tokenizer(folder, self.plan.fingerprint)
        if not isinstance(chosen, Tokenizer):
            total = sum(int(placing.kept.kept_rows()["characters"].sum()) for placing in placings)
            with self.display.stage("tokenizer", total) as stage:

                def texts() -> Iterator[str]:
                    for placing in placings:
                        for placed in placing.placed():
                            if placed.part == TRAIN and placed.copies:
                                stage.advance(len(placed.text))
                                yield placed.text

                chosen = train(chosen, texts())
        with result(folder) as temporary:
            chosen.save(temporary)
        return stored_tokenizer(folder, self.plan.fingerprint)

    def _measure(self, pool: Workers, placings: list[Placing]) -> Future[Facts] | None:
        """The tokenizer's figures, if they are asked for: one more piece of work beside that on the parts."""
        if self.candidates is None:
            return None
        folder, fingerprint = self.work.path / "tokenizer", self.plan.fingerprint
        with pool.watched():
            return pool.executor.submit(
                tokenizer_figures, folder, fingerprint, placings, self.plan.words, self.candidates
            )

    def _tokens(self, pool: Workers, placings: list[Placing]) -> list[Path]:
        """Encode what is kept of every part. Returns the folders of their tokens."""
        sizes = [float(placing.kept.kept_rows()["characters"].sum()) for placing in placings]
        with self.display.stage("tokens", sum(sizes)) as stage:
            jobs = [
                TokensJob(
                    placing,
                    self.work.path / "tokenizer",
                    self.plan.fingerprint,
                    self.plan.words,
                    self.plan.data.loss_between,
                    self.work.path / "tokens" / f"{placing.kept.number:05}",
                    stage.begin if pool.inline else None,
                )
                for placing in placings
            ]
            self._each(stage, pool, make_tokens, jobs, sizes)
        return [job.folder for job in jobs]

    def _each(
        self,
        stage: Stage,
        pool: Workers,
        work: Callable[[Job], Done],
        jobs: Sequence[Job],
        sizes: Sequence[float],
        done: Callable[[Done], None] = lambda outcome: None,
        found: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """Do the jobs whose results are not there yet. done: called with what comes of each; found: with the others."""
        there = {job.number: job for job in jobs if self.work.continued and is_whole(job.folder)}
        for number, job in there.items():
            stage.found(sizes[number])
            found(job)

        def collect(outcome: Done) -> None:
            stage.advance(sizes[outcome.number])
            done(outcome)

        pool.run(work, [job for job in jobs if job.number not in there], collect)

    def _set(
        self,
        tokenizer: Tokenizer,
        split: Split,
        tokens: list[Path],
        figures: Facts,
        final: Path,
        finish: Callable[[Path], None] | None,
    ) -> ShardWriter:
        """Put the parts together."""
        plan, folder = self.plan, self.work.path / f"set.{uuid.uuid4().hex[:8]}.tmp"
        folder.mkdir()
        writer = ShardWriter(folder, tokenizer, plan.words, plan.data.loss_between)
        with self.display.stage("set", len(tokens), "") as stage:
            for part in tokens:
                writer.append(part, counts_of(part))
                stage.advance(1)
        if writer.counts[TRAIN].get("learned") == 0:
            raise nothing_learned(plan.data.loss_between)
        write_json(folder / STATISTICS, figures)
        writer.finish(
            plan.fingerprint,
            settings=plan.settings,
            split={"by": str(split.by), "validation": split.validation, "test": split.test},
            input=plan.input(),
            stages=counts_by_stage(figures),
            sources=figures["sources"],
            errors=figures["errors"]["count"],
        )
        if finish:
            finish(folder)
        self.work.publish(folder, final)
        return writer


def _of_documents(fingerprint: str, documents: list[Path]) -> str:
    """The fingerprint of a set whose input is not there any more: of what was read of it."""
    digest = hashlib.sha256(fingerprint.encode())
    for folder in documents:
        digest.update(Documents(folder).table["hash"].tobytes())
    return digest.hexdigest()
