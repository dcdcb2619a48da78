"""One contestant of `bench_prepare.py encode`, in a process of its own: text in a jsonl file -> token ids on disk.

    python -m bench.prepare_contestants NAME CORPUS.jsonl TOKENIZER_FOLDER WORK_FOLDER WORKERS

Prints one JSON object: seconds, CPU seconds of all processes, bytes of text, and a digest of the ids.
"""

import hashlib
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

END = 0  # every document ends with the token of this number, as `train_tokenizer` in bench_prepare.py makes it


def texts(corpus: Path) -> Iterator[str]:
    with open(corpus, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def bigtrain(corpus: Path, tokenizer: Path, work: Path, workers: int) -> Path:
    """`bigtrain prepare` without cleaning: what `pretrain data.files=` does on the way."""
    from bigtrain.data.executor_schema import LocalConfig
    from bigtrain.data.pipeline import prepare
    from bigtrain.data.schema import DataConfig, FileTokenizerConfig

    data = DataConfig(files=[str(corpus)], validation_fraction=0)
    made = prepare(data, FileTokenizerConfig(path=str(tokenizer)), work / "set", executor=LocalConfig(workers=workers))
    return made.path / "train.bin"


def datasets_map(corpus: Path, tokenizer: Path, work: Path, workers: int) -> Path:
    """Hugging Face's way: load_dataset, map in batches, then one array on disk (as nanoGPT's prepare.py writes it)."""
    import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]

    datasets.disable_progress_bars()
    backend = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    backend.encode_special_tokens = True
    rows = datasets.load_dataset("json", data_files=str(corpus), split="train", cache_dir=str(work / "cache"))

    def encode(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        ids = [[*found.ids, END] for found in backend.encode_batch(batch["text"], add_special_tokens=False)]
        return {"ids": ids, "length": [len(one) for one in ids]}

    rows = rows.map(encode, batched=True, remove_columns=["text"], num_proc=workers if workers > 1 else None)
    path, start = work / "ids.bin", 0
    out = np.memmap(path, np.uint16, mode="w+", shape=(int(np.sum(rows["length"])),))
    for shard in range(n_shards := min(1024, len(rows))):
        part = rows.shard(num_shards=n_shards, index=shard, contiguous=True).with_format("numpy")
        ids = np.concatenate(part["ids"][:])
        out[start : start + len(ids)] = ids
        start += len(ids)
    out.flush()
    return path


_backend: list[Tokenizer] = []  # of a pool's process


def _begin(tokenizer: str) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _backend.append(Tokenizer.from_file(tokenizer))
    _backend[0].encode_special_tokens = True


def _encode_line(line: str) -> list[int]:
    ids: list[int] = _backend[0].encode(json.loads(line)["text"], add_special_tokens=False).ids
    return [*ids, END]


def megatron(corpus: Path, tokenizer: Path, work: Path, workers: int) -> Path:
    """Megatron-LM's way (tools/preprocess_data.py): a pool, one document at a time, ids written as they come."""
    path = work / "ids.bin"
    with (
        multiprocessing.Pool(workers, _begin, (str(tokenizer / "tokenizer.json"),)) as pool,
        open(corpus, encoding="utf-8") as lines,
        open(path, "wb") as out,
    ):
        for ids in pool.imap(_encode_line, lines, 32):
            out.write(np.array(ids, np.uint16).tobytes())
    return path


def reference(corpus: Path, tokenizer: Path, work: Path, workers: int) -> Path:
    """`tokenizers` itself, all cores, no files but the last: what the ids must be."""
    backend = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    backend.encode_special_tokens = True
    path = work / "ids.bin"
    with open(path, "wb") as out:
        for found in backend.encode_batch(list(texts(corpus)), add_special_tokens=False):
            out.write(np.array([*found.ids, END], np.uint16).tobytes())
    return path


CONTESTANTS: dict[str, Callable[[Path, Path, Path, int], Path]] = {
    "bigtrain": bigtrain,
    "datasets": datasets_map,
    "megatron": megatron,
    "reference": reference,
}


def cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def main() -> None:
    name, corpus, tokenizer, work, workers = sys.argv[1:]
    began, before = time.perf_counter(), cpu_seconds()
    path = CONTESTANTS[name](Path(corpus), Path(tokenizer), Path(work), int(workers))
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - before
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    n_bytes = sum(len(text.encode("utf-8")) for text in texts(Path(corpus)))
    print(json.dumps({"name": name, "bytes": n_bytes, "seconds": seconds, "cpu_seconds": cpu, "ids": digest}))


if __name__ == "__main__":
    main()
