"""Preparation: token ids on disk against other encoders, the whole pipeline against datatrove, and growing input.

    .venv/bin/python -m pip install -e '.[bench]'        once: `encode` runs the datasets library
    .venv/bin/python scripts/bench_prepare.py encode FILES... --mb 12 --workers 2 --rounds 5
    .venv/bin/python scripts/bench_prepare.py pipeline FILES... --mb 20 [--datatrove /other/venv/bin/python]
    .venv/bin/python scripts/bench_prepare.py grow FILES... --gb 1 2 5

FILES are plain texts with blank lines between paragraphs. `encode` cuts them into documents of a few kilobytes, each
paragraph once; the others draw paragraphs at random, and some documents share much. Contestants alternate, each in a
new process; ratios are of medians. Memory is that of all processes together, sampled. Where other work shares the
cores, `--clock cpu_seconds` is the honest one.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
_IMPORTED = (SCRIPTS.parent, SCRIPTS, os.environ.get("PYTHONPATH", ""))
VOCABULARY = 32_000
END = "<|endoftext|>"


def paragraphs(files: list[str]) -> list[str]:
    found = []
    for file in files:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
        found += [part.strip() for part in text.split("\n\n") if part.strip()]
    return found


def documents(parts: list[str], size: int = 4000) -> Iterator[str]:
    """Paragraphs in their order, in documents of about `size` characters."""
    held: list[str] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= size:
            yield "\n\n".join(held)
            held = []
    if held:
        yield "\n\n".join(held)


def mixed(parts: list[str], seed: int) -> Iterator[str]:
    """Documents of paragraphs drawn at random, without end; one in ten is nearly the one before it."""
    draw, last = random.Random(seed), [""]
    while True:
        chosen = draw.choices(parts, k=draw.randrange(3, 30)) if draw.random() > 0.1 else [*last, draw.choice(parts)]
        last = chosen
        yield "\n\n".join(chosen)


def write_corpus(path: Path, texts: Iterator[str], n_bytes: float) -> int:
    """A jsonl file of that many bytes of text, or as many as there are. Returns how many."""
    written = 0
    with open(path, "w", encoding="utf-8") as out:
        for text in texts:
            out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text.encode("utf-8"))
            if written >= n_bytes:
                break
    return written


def train_tokenizer(folder: Path, corpus: Path) -> None:
    """Byte-level BPE as everybody's: GPT-2's pattern, the end of a document as token 0."""
    from bench.prepare_contestants import texts
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts(corpus), trainer)
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))


class Watch(threading.Thread):
    """The most memory that this process's children and theirs have held together, in bytes, and the time they took.

    All of it is sampled: no parent is told of the processor time of what a fork server has started.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.resident = 0
        self.seconds = -time.perf_counter()
        self._processor: dict[int, float] = {}  # of each process, in seconds
        self._ended = threading.Event()

    @property
    def cpu_seconds(self) -> float:
        """Of all of them."""
        return sum(self._processor.values())

    def run(self) -> None:
        while not self._ended.wait(0.1):
            held = []
            for pid, seconds in _below(os.getpid()).items():
                self._processor[pid] = seconds
                held.append(_memory(pid))
            self.anonymous = max(self.anonymous, sum(one[0] for one in held))
            self.resident = max(self.resident, sum(one[1] for one in held))

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self._ended.set()
        self.join()


def _below(pid: int) -> dict[int, float]:
    """The processes below one, and the processor time of each in seconds."""
    parents: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            seconds[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found, at = {}, list(parents.get(pid, []))
    while at:
        one = at.pop()
        found[one] = seconds[one]
        at += parents.get(one, [])
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Anonymous and resident memory of a process; the second counts pages of mapped files too."""
    try:
        lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {
        line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "VmRSS"))
    }
    return sizes.get("RssAnon", 0), sizes.get("VmRSS", 0)


def child(*words: object, cwd: Path | None = None) -> tuple[dict[str, Any], Watch]:
    """Run a command that prints one JSON object last."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, _IMPORTED)), "HF_HUB_OFFLINE": "1"}
    with Watch() as watch:
        done = subprocess.run([str(word) for word in words], env=environment, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1]), watch


def encode(given: argparse.Namespace, work: Path) -> None:
    """Contestants of `bench/prepare_contestants.py`; all must write the same ids."""
    corpus, tokenizer = work / "corpus.jsonl", work / "tokenizer"
    n_bytes = write_corpus(corpus, documents(paragraphs(given.files)), given.mb * 1e6)
    train_tokenizer(tokenizer, corpus)
    ids = ""
    rates: dict[str, list[float]] = {}
    for number in range(given.rounds):
        for name in given.contestants if number else ["reference", *given.contestants]:
            with tempfile.TemporaryDirectory(dir=work) as place:
                line = ("-m", "bench.prepare_contestants", name, corpus, tokenizer, place, given.workers)
                found, watch = child(sys.executable, *line)
            ids = ids or found["ids"]
            if found["ids"] != ids:
                sys.exit(f"{name} writes other ids than the tokenizers library")
            rates.setdefault(name, []).append(n_bytes / 1e6 / found[given.clock])
            print(json.dumps({**found, "MB_per_s": rates[name][-1], "anonymous_MB": watch.anonymous / 1e6}))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{n_bytes / 1e6:.1f} MB, {given.workers} workers, {given.clock}, {given.rounds} rounds, identical ids")
    for name, rate in medians.items():
        spread = f"{min(rates[name]):.2f} to {max(rates[name]):.2f}"
        print(f"{name:10} {rate:7.2f} MB/s ({spread})   bigtrain / it: {medians['bigtrain'] / rate:.2f}")


def prepare(corpus: Path, tokenizer: Path, output: Path, workers: int, *words: str) -> Watch:
    """The whole command."""
    line = [f"data.files={corpus}", f"output={output}", "tokenizer=file", f"tokenizer.path={tokenizer}", *words]
    _, watch = child(sys.executable, "-m", "bigtrain", "prepare", "--json", *line, f"executor.workers={workers}")
    return watch


def pipeline(given: argparse.Namespace, work: Path) -> None:
    """clean=web, exact and near duplicates, pii=mask, tokens."""
    folder, tokenizer = work / "in", work / "tokenizer"
    folder.mkdir()
    parts = paragraphs(given.files)
    for number in range(given.workers):  # datatrove shares out files
        write_corpus(folder / f"{number}.jsonl", mixed(parts, number), given.mb * 1e6 / given.workers)
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    train_tokenizer(tokenizer, folder / "0.jsonl")
    rates: dict[str, list[float]] = {}
    for number in range(given.rounds):
        watch = prepare(folder, tokenizer, work / f"set{number}", given.workers, *STEPS)
        rates.setdefault("bigtrain", []).append(n_bytes / 1e6 / getattr(watch, given.clock))
        print(json.dumps({"bigtrain": _times(watch), "anonymous_MB": watch.anonymous / 1e6}), flush=True)
        if given.datatrove:
            with tempfile.TemporaryDirectory(dir=work) as place:
                line = (SCRIPTS / "bench" / "datatrove_prepare.py", folder, tokenizer / "tokenizer.json", given.workers)
                found, watch = child(given.datatrove, *line, cwd=Path(place))
            rates.setdefault("datatrove", []).append(n_bytes / 1e6 / getattr(watch, given.clock))
            print(json.dumps({"datatrove": _times(watch), **found}), flush=True)
    size = f"({n_bytes / 1e6:.1f} MB, {given.workers} workers, {given.clock})"
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in medians.items():
        print(f"{name:10} {rate:7.2f} MB/s   bigtrain / it: {medians['bigtrain'] / rate:.2f}   {size}")


def _times(watch: Watch) -> dict[str, float]:
    return {"seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}


STEPS = ("clean=web", "dedup=near", "pii=mask")


def grow(given: argparse.Namespace, work: Path) -> None:
    """Time and memory at several sizes."""
    parts = paragraphs(given.files)
    write_corpus(work / "some.jsonl", documents(parts), 20e6)
    train_tokenizer(work / "tokenizer", work / "some.jsonl")
    for size in given.gb:
        corpus, output = work / "corpus.jsonl", work / "set"
        n_bytes = write_corpus(corpus, mixed(parts, 0), size * 1e9)
        watch = prepare(corpus, work / "tokenizer", output, given.workers, *given.steps)
        subprocess.run(["rm", "-r", str(output)], check=True)
        times = f"{watch.seconds:8.1f} s {watch.cpu_seconds:8.1f} CPU s"
        time_taken = f"{n_bytes / 1e9:5.2f} GB {times} {n_bytes / 1e6 / getattr(watch, given.clock):7.2f} MB/s"
        memory = f"{watch.anonymous / 1e6:6.0f} MB anonymous, {watch.resident / 1e6:6.0f} MB resident"
        print(f"{time_taken}   {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("encode", "pipeline", "grow"))
    parser.add_argument("files", nargs="+")
    parser.add_argument("--mb", type=float, default=12)
    parser.add_argument("--gb", type=float, nargs="+", default=[0.3])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=("seconds", "cpu_seconds"), default="seconds")
    parser.add_argument("--contestants", nargs="+", default=["bigtrain", "datasets", "megatron"])
    parser.add_argument("--steps", nargs="*", default=STEPS, help="of `grow`, as words of `bigtrain prepare`")
    parser.add_argument("--datatrove", help="a Python that has it")
    parser.add_argument("--work", help="folder for everything; a temporary one is removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        {"encode": encode, "pipeline": pipeline, "grow": grow}[given.what](given, Path(work))


if __name__ == "__main__":
    main()
