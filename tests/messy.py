"""A small messy corpus: several sources and formats, duplicates, personal data, text that no rule likes."""

import gzip
import json
import random
from pathlib import Path

_NAMES = "river stone garden winter letter market window mother island captain teacher bridge forest story".split()  # noqa: SIM905
_VERBS = "crosses remembers paints follows watches carries forgets builds opens sells".split()  # noqa: SIM905
_ENDS = ["before the rain begins", "and nobody asks why", "with a quiet smile", "in the old town", "for the last time"]
EMAIL, CARD = "jane.roe@example.org", "4111 1111 1111 1111"  # both are made for examples


def prose(draw: random.Random, n_sentences: int) -> str:
    """English sentences that pass the quality rules."""
    return " ".join(
        f"The {draw.choice(_NAMES)} {draw.choice(_VERBS)} the {draw.choice(_NAMES)} of {draw.randrange(1000)} days "
        f"{draw.choice(_ENDS)}."
        for _ in range(n_sentences)
    )


def write(folder: Path, n: int = 120, seed: int = 0) -> None:
    """Files in `folder`: web.jsonl, more.jsonl.gz, notes/*.txt, evaluation.jsonl."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes").mkdir()
    texts = [prose(draw, draw.randrange(8, 30)) for _ in range(n)]
    rows = []
    for number, text in enumerate(texts):
        match number % 10:
            case 1:
                text = texts[draw.randrange(number)]  # exact
            case 2:
                words = texts[draw.randrange(number)].split()
                words[draw.randrange(len(words))] = "changed"
                text = " ".join(words)  # near
            case 3:
                text += f" Write to {EMAIL} or pay with {CARD}."
            case 4:
                text = "buy now " * 40  # repetition
            case 5:
                text = f"CafÃ© {text}"  # mojibake
        rows.append({"text": text, "site": f"site{number % 7}"})
    _rows(folder / "web.jsonl", rows[: n // 2])
    _rows(folder / "more.jsonl.gz", rows[n // 2 :])
    for number in range(6):
        (folder / "notes" / f"{number}.txt").write_text(prose(draw, 12) + "\n" + texts[number], encoding="utf-8")
    _rows(folder / "evaluation.jsonl", [{"text": prose(draw, 3)} for _ in range(4)] + [{"text": texts[20]}])


def _rows(path: Path, rows: list[dict]) -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def content(folder: Path) -> dict[str, bytes]:
    """Every byte of a prepared set."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
