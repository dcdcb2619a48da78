"""README.md and docs/ say what is so: their commands run, and their keys exist.

Every ```sh block is run line by line, README first, in one folder that holds the files the pages name; a block below a
line that ends with `FILE`: is written to that file; ```text blocks are output, shown and not run. Two things are made
small: the texts, and the model `tiny`, which a file in ./configs shadows, as a user's would.
"""

import csv
import dataclasses
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import environment, text

from bigtrain.config import folders
from bigtrain.config.fields import lookup
from bigtrain.schema import CHOICES, ROOTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("prepare", "pretrain", "finetune", "evaluate", "generate")),
    *(f"docs/{name}.md" for name in ("models", "encoders", "recurrent")),
    *(f"docs/{name}.md" for name in ("configuration", "metrics")),
    "docs/reproducibility.md",
]
# They install, or take minutes; what torchrun does is tested in invariants/test_processes.py.
NOT_RUN = ("sh scripts/", "python -m pip install ", "torchrun ")
NOT_KEYS = {"train.bin", "train.documents.bin", "tokenizer.json", "hydra.sweep.dir"}  # files, and Hydra's own

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`(?P<path>[\w./-]+)`:\n+\Z")
INLINE = re.compile(r"`([^`\n]+)`")
KEY = re.compile(r"(?:^|[\s'\"(\[])(?P<key>[a-z][a-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)=")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, and the file that the line above it names."""

    where: str
    language: str
    content: str
    file: str | None

    def commands(self) -> list[str]:
        lines = self.content.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith(NOT_RUN)]


def blocks(page: str) -> Iterator[Block]:
    source = (ROOT / page).read_text(encoding="utf-8")
    for match in FENCE.finditer(source):
        above = FILE.search(source[: match.start()])
        where = f"{page}:{source.count(chr(10), 0, match.start()) + 1}"
        yield Block(where, match["language"], match["content"], above["path"] if above else None)


def test_every_page_is_run() -> None:
    assert sorted(PAGES[1:]) == sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
    assert {block.language for page in PAGES for block in blocks(page)} <= {"sh", "yaml", "text", "python", "json"}


def test_commands(tmp_path: Path) -> None:
    home = newcomer(tmp_path / "a newcomer")
    for page in PAGES:
        for block in blocks(page):
            if block.file:
                (home / block.file).parent.mkdir(parents=True, exist_ok=True)
                (home / block.file).write_text(block.content, encoding="utf-8")
            elif block.language == "python":
                run(block.content, home, block.where, functools.partial(exec, block.content, {}))
            elif block.language == "sh":
                for command in block.commands():
                    run(command, home, block.where, in_process(command))


def newcomer(home: Path) -> Path:
    """A folder with the files that the pages name, each a small one."""
    (home / "configs" / "model").mkdir(parents=True)
    (home / "configs" / "model" / "tiny.yaml").write_text(
        "name: decoder\narchitecture: qwen3\ndim: 32\nn_layers: 2\nn_heads: 4\nmax_seq_len: 32\n"
    )
    (home / "corpus.txt").write_text(text(8000, 1))
    (home / "novel.txt").write_text(text(3000, 2))
    for name, size in (("reviews.csv", 120), ("reviews_test.csv", 40)):
        with open(home / name, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            table.writerows([text(8, seed), ("negative", "positive")[seed % 2]] for seed in range(size))
    scores = "".join(f"{' '.join(text(8, seed).split())},{seed % 5}\n" for seed in range(60))
    (home / "scores.csv").write_text("text,score\n" + scores)
    (home / "articles").mkdir()
    for part in range(2):
        rows = [{"title": text(3, seed), "body": text(60, seed)} for seed in range(part, 60, 2)]
        (home / "articles" / f"part-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [{"question": text(20, seed)} for seed in range(1000, 1005)]
    (home / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    chats = [{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]}] * 24
    for name, most in (("chats.jsonl", 24), ("chats_test.jsonl", 4)):
        (home / name).write_text("".join(json.dumps(chat) + "\n" for chat in chats[:most]))
    pairs = [{"prompt": "Who?", "chosen": "I.", "rejected": "He."}] * 12
    for name in ("pairs.jsonl", "pairs_test.jsonl"):
        (home / name).write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for name, seeds in (("squad.json", range(24)), ("squad_dev.json", range(24, 32))):
        (home / name).write_text(json.dumps({"version": "1.1", "data": [{"paragraphs": [*map(paragraph, seeds)]}]}))
    for name, seeds in (("names.conll", range(30)), ("names_dev.conll", range(30, 40))):
        sentences = [
            [f"{word} {'B-ANIMAL' if word == 'cat' else 'O'}\n" for word in text(9, seed).split()] for seed in seeds
        ]
        (home / name).write_text("\n".join(map("".join, sentences)))
    (home / "news" / "2026-11-24").mkdir(parents=True)
    (home / "news" / "2026-11-24" / "paper.txt").write_text(text(2000, 3))
    (home / "pages").mkdir()
    for number in range(8):
        paragraphs = "".join(f"<p>{text(50, 100 * number + part)}</p>" for part in range(4))
        page = f"<html><head><title>Page {number}</title></head><body><article>{paragraphs}</article></body></html>"
        (home / "pages" / f"{number}.html").write_text(page)
    (home / "bin").mkdir()
    for name, module in (("bigtrain", "-m bigtrain"), ("python", "")):
        (home / "bin" / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        (home / "bin" / name).chmod(0o755)
    return home


def paragraph(seed: int) -> dict[str, Any]:
    """A text with a question about it, as SQuAD has them."""
    context = text(20, seed)
    answer = {"text": context[:6], "answer_start": 0}
    return {"context": context, "qas": [{"id": f"q{seed}", "question": text(3, seed), "answers": [answer]}]}


def run(command: str, home: Path, where: str, work: Callable[[], int | None] | None) -> None:
    """One line of a page, or a program; it must end with exit code 0."""
    settings = environment() | {"PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    settings.pop(folders.ENVIRONMENT, None)
    output = home / "output"
    if work:
        code = in_child(work, home, settings, output)
    else:
        with open(output, "wb") as file:
            code = subprocess.run(
                ["sh", "-c", command], cwd=home, env=settings, stdout=file, stderr=subprocess.STDOUT
            ).returncode
    assert code == 0, f"{where}: `{command}` ended with {code}:\n{output.read_text(encoding='utf-8')[-3000:]}"


def in_process(command: str) -> Callable[[], int] | None:
    """The command line as a call, where it is bigtrain's own and needs no shell for pipes and the like."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    if any(set(word) <= set("();<>|&") for word in lexer) or not command.startswith("bigtrain "):
        return None
    words = shlex.split(command)

    def work() -> int:
        from bigtrain.cli import main

        sys.argv = words
        return main(words[1:])

    return work


def in_child(work: Callable[[], int | None], home: Path, settings: dict[str, str], output: Path) -> int:
    """Do the work in a forked child: what is slow to import is imported once for all. Returns the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 and later warn of forks beside threads
        import transformers  # noqa: F401

        import bigtrain.commands.evaluate
        import bigtrain.training.loop  # noqa: F401
        from bigtrain.config import load

        load("generate")  # imports Hydra
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        os.chdir(home)
        os.environ.clear()
        os.environ.update(settings)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        warnings.simplefilter("default")
        code = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def known(key: str) -> bool:
    """Whether some verb has this key, or there is a group of this name."""
    kinds = [{group: {"name": name}} for group, names in CHOICES.items() for name in names]
    return key in folders.groups() or any(
        lookup(root, node, key) not in (None, type(None)) for root in ROOTS.values() for node in kinds
    )


@pytest.mark.parametrize("page", PAGES)
def test_keys_exist(page: str) -> None:
    sections = {"data", "train", "run", "parallel", "evals", "resume", "device", *CHOICES}
    unknown = []
    for code in INLINE.findall(FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
        named = {match["key"] for match in KEY.finditer(code)}
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", code) and code.partition(".")[0] in sections:
            named.add(code)
        unknown += [f"`{code}`" for key in named - NOT_KEYS if not known(key)]
    assert unknown == []
