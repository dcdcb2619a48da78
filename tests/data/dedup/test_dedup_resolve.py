"""Which documents and paragraphs are kept: against a plain computation, for any division, executor and interruption."""

import random
import shutil
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigtrain.data.dedup.exact import document_hash
from bigtrain.data.dedup.minhash import MinHasher
from bigtrain.data.dedup.paragraphs import paragraph_spans
from bigtrain.data.dedup.repeats import Parts, Search, run
from bigtrain.data.dedup.resolve import Example, Kind, Outcome, Resolved, resolve
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.signatures import write_signatures

ALL = DedupConfig(documents=True, paragraphs=True, near=True, paragraph_min_chars=20)


class Inline(Executor):
    """Does everything at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@cache
def corpus(seed: int, n: int = 300) -> tuple[str, ...]:
    """Small documents with everything that can be repeated: the whole, most of the words, single paragraphs."""
    draw = random.Random(seed)
    words = [f"word{number}" for number in range(3000)]
    shared = [" ".join(draw.choices(words, k=12)) for _ in range(20)]
    texts: list[str] = ["", "...", "!"]
    for _ in range(n):
        kind = draw.random()
        if kind < 0.15:
            texts.append(draw.choice(texts).replace(" ", "  ") + "\n")
        elif kind < 0.4:
            copy = draw.choice(texts).split(" ")
            copy[draw.randrange(len(copy))] = draw.choice(words)
            texts.append(" ".join(copy))
        elif kind < 0.6:
            texts.append("\n".join(draw.choice(shared) for _ in range(draw.randrange(1, 5))))
        else:
            texts.append("\n".join(" ".join(draw.choices(words, k=30)) for _ in range(draw.randrange(4))))
    return tuple(texts)


def signed(texts: tuple[str, ...], n_parts: int, config: DedupConfig, folder: Path) -> list[Path]:
    """The texts divided into parts at random places, some of them empty."""
    draw = random.Random(n_parts)
    cuts = [0, *sorted(draw.randrange(len(texts) + 1) for _ in range(n_parts - 1)), len(texts)]
    parts = []
    for number, (start, stop) in enumerate(pairwise(cuts)):
        parts.append(folder / f"signatures-{number}")
        parts[-1].mkdir(parents=True)
        write_signatures(texts[start:stop], config, parts[-1])
    return parts


def flat(parts: list[Path], folder: Path) -> tuple[list[int], list[int], list[bool]]:
    """Kinds, representatives numbered over the whole corpus, paragraphs kept."""
    outcomes = [Outcome.load(folder, part) for part in range(len(parts))]
    starts = np.cumsum([0, *(len(outcome.kind) for outcome in outcomes)])
    kinds = [int(kind) for outcome in outcomes for kind in outcome.kind]
    roots = [int(starts[part] + row) for outcome in outcomes for part, row in outcome.representative]
    return kinds, roots, [bool(keep) for outcome in outcomes for keep in outcome.paragraphs]


def plain(texts: tuple[str, ...], config: DedupConfig) -> tuple[list[int], list[int], list[bool]]:
    """The definition: merge whatever shares a key, keep the first of each cluster."""
    clusters = [{number} for number in range(len(texts))]
    exact, seen = set(), {}
    for number, (text, bands) in enumerate(zip(texts, MinHasher(config).bands(texts).tolist(), strict=True)):
        keys: list[Any] = [tuple(document_hash(text).tolist())] if config.documents else []
        if config.documents and keys[0] in seen:
            exact.add(number)
        keys += [(place, band) for place, band in enumerate(bands) if band and config.near]
        for key in keys:
            first = clusters[seen.setdefault(key, number)]
            if first is not clusters[number]:
                first |= clusters[number]
                for member in clusters[number]:
                    clusters[member] = first
    roots = [min(cluster) for cluster in clusters]
    kinds = [0 if root == number else 1 if number in exact else 2 for number, root in enumerate(roots)]
    keep, lines = [], set()
    for text, kind in zip(texts, kinds, strict=True):
        for value in paragraph_spans(text, config)[1].tolist() if config.paragraphs else ():
            keep.append(kind != 0 or value not in lines)
            lines |= {value} if kind == 0 else set()
    return kinds, roots, keep


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_parts", "range_size"), [(1, 1 << 20), (2, 1000), (5, 90)])
def test_any_division_gives_the_outcome_of_the_definition(
    tmp_path: Path, seed: int, n_parts: int, range_size: int
) -> None:
    texts = corpus(seed)
    parts = signed(texts, n_parts, ALL, tmp_path)
    resolved = resolve(parts, ALL, Inline(), tmp_path, range_size=range_size)
    kinds, roots, keep = plain(texts, ALL)
    assert flat(parts, tmp_path) == (kinds, roots, keep)
    assert (resolved.exact, resolved.near) == (kinds.count(Kind.exact), kinds.count(Kind.near))
    assert resolved.paragraphs == keep.count(False)
    assert min(resolved.exact, resolved.near, resolved.paragraphs) > 10


@pytest.mark.parametrize(
    "config",
    [
        DedupConfig(),
        DedupConfig(documents=True),
        DedupConfig(near=True),
        DedupConfig(paragraphs=True, paragraph_min_chars=20),
        DedupConfig(near=True, bands=3, rows=2, ngram=2),
    ],
)
def test_each_kind_by_itself(tmp_path: Path, config: DedupConfig) -> None:
    texts = corpus(0)
    parts = signed(texts, 3, config, tmp_path)
    resolve(parts, config, Inline(), tmp_path, range_size=100)
    assert flat(parts, tmp_path) == plain(texts, config)


def test_any_executor_and_interruption_gives_the_same_bytes(tmp_path: Path, processes: Executor) -> None:
    """Also when some of the files are lost, or all but the first few were never written."""
    texts, draw = corpus(7), random.Random(0)
    parts = signed(texts, 4, ALL, tmp_path / "parts")
    contents, results = [], []
    with ThreadPoolExecutor(3) as threads:
        for number, executor in enumerate((Inline(), threads, processes, Inline(), Inline())):
            folder = tmp_path / str(number)
            folder.mkdir()
            if number >= 3:
                kept = [path for path in sorted((tmp_path / "0").iterdir()) if draw.random() < 0.5]
                for path in kept:
                    shutil.copy(path, folder)
            results.append(resolve(parts, ALL, executor, folder, range_size=160))
            contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert all(content == contents[0] for content in contents)
    assert all(result == results[0] for result in results)
    assert sum(name.startswith("bands-") for name in contents[0]) > ALL.bands


def test_the_first_in_order_is_kept(tmp_path: Path) -> None:
    """Through a chain of near copies to its beginning; the copies' own paragraphs do not count as seen."""
    draw = random.Random(0)
    line = "a paragraph that is long enough to be compared with others"
    chain = ["\n".join(" ".join(str(draw.randrange(10**6)) for _ in range(30)) for _ in range(4))]
    for _ in range(12):
        copy = chain[-1].split(" ")
        copy[len(chain) * 8] = "changed"
        chain.append(" ".join(copy))
    texts = (*chain[:-1], chain[-1] + "\n" + line, line + "\nand more words that nobody else has said", chain[0])
    parts = signed(texts, 5, ALL, tmp_path)
    resolve(parts, ALL, Inline(), tmp_path)
    kinds, roots, keep = flat(parts, tmp_path)
    assert kinds == [0, *[2] * 12, 0, 1]
    assert roots == [*[0] * 13, 13, 0]
    assert all(keep)


def test_examples_are_pairs_of_documents_that_were_merged(tmp_path: Path) -> None:
    texts = corpus(3, 1000)
    parts = signed(texts, 3, ALL, tmp_path)
    resolved = resolve(parts, ALL, Inline(), tmp_path)
    starts = Parts.of(parts).starts("documents")
    kinds, roots, _ = flat(parts, tmp_path)
    assert [example.kind for example in resolved.examples] == [Kind.exact] * 10 + [Kind.near] * 10
    for example in resolved.examples:
        kept, dropped = (int(starts[part]) + row for part, row in (example.kept, example.dropped))
        assert (kinds[kept], kinds[dropped]) == (Kind.keep, example.kind)
        assert roots[dropped] == kept
        if example.kind is Kind.exact:
            assert texts[kept].split() == texts[dropped].split()
            assert example.similarity == 1
        else:
            bands = MinHasher(ALL).bands([texts[kept], texts[dropped]])
            assert example.similarity == pytest.approx((bands[0] == bands[1]).mean() ** (1 / 8), abs=0.005)
            assert example.similarity > 0.7
    assert resolved.examples[9].dropped[0] > resolved.examples[0].dropped[0]


def test_nothing_at_all(tmp_path: Path) -> None:
    assert resolve([], ALL, Inline(), tmp_path) == Resolved(0, 0, 0, [])
    parts = signed(("", "...", "\n"), 2, ALL, tmp_path)
    assert resolve(parts, ALL, Inline(), tmp_path) == Resolved(1, 0, 0, [Example(Kind.exact, (1, 0), (1, 2), 1.0)])


def test_progress_counts_the_searches(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    parts = signed(corpus(0), 2, ALL, tmp_path)
    resolve(parts, ALL, Inline(), tmp_path, progress=lambda done, total: said.append((done, total)))
    assert said == [(done, 16) for done in range(1, 17)]


def test_signatures_take_little_memory_for_a_row(tmp_path: Path) -> None:
    """A part may be one large archive of short rows."""
    peaks = []
    for n in (4_000, 16_000):
        texts = [f"row {number}\n{number} and a paragraph" for number in range(n)]
        (tmp_path / str(n)).mkdir()
        tracemalloc.start()
        write_signatures(texts, ALL, tmp_path / str(n))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 100 * 12_000


def test_memory_is_that_of_a_range(tmp_path: Path) -> None:
    """However often one of the hashes is repeated."""
    n = 30_000
    config = DedupConfig(documents=True)
    texts = [str(number) if number % 3 else "the same everywhere" for number in range(n)]
    parts = []
    for number in range(0, n, 1000):
        parts.append(tmp_path / f"{number}")
        parts[-1].mkdir()
        write_signatures(texts[number : number + 1000], config, parts[-1])
    Parts.of(parts).save(tmp_path)
    peaks = {}
    for n_ranges in (1, 10):
        peaks[n_ranges] = 0
        for number in range(n_ranges):
            tracemalloc.start()
            run(Search(tmp_path, "documents", 0, number, n_ranges))
            peaks[n_ranges] = max(peaks[n_ranges], tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[10] < peaks[1] / 5
