"""What the first stage tells of the documents that it reads."""

import json
from pathlib import Path
from typing import Any

import pytest
from harness import run_verb


def statistics(folder: Path, *words: str) -> dict[str, Any]:
    common = ["tokenizer=bytes", "data.validation_fraction=0", "clean=none"]
    run_verb("prepare", [f"data.files={folder}", *common, *words, f"output={folder}.set"])
    found: dict[str, Any] = json.loads(Path(f"{folder}.set/statistics.json").read_text())
    return found


def test_a_page_without_main_text_is_one_of_its_own_and_pages_count_as_they_came(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    text = "The river runs under the old bridge, and nobody knows where it goes. " * 10
    pages = {
        "good": f"<html><body><script>{'x' * 5000}</script><article><p>{text}</p></article></body></html>",
        "menu": f"<html><script>{'x' * 900}</script><body><nav>Home <b>News</b> a@b.example</nav></body></html>",
        "empty": "",
    }
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page)
    read = statistics(folder)["stages"][0]
    assert {reason: found["documents"] for reason, found in read["reasons"].items()} == {"no_main_text": 1, "empty": 1}
    (example,) = read["reasons"]["no_main_text"]["examples"]
    assert (example["file"], example["text"]) == ("menu.html", "Home News <EMAIL_1>")
    assert read["bytes_in"] == sum(map(len, pages.values()))
    assert read["bytes_out"] == len(text.strip())


def test_what_folders_hold_besides_is_said_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.pdf", "d.pdf", "e.docx"):
        (folder / name).write_text(f"text {name}")
    with caplog.at_level("INFO", "bigtrain"):
        statistics(folder)
    assert caplog.messages.count("left out of folders: 1 .docx, 2 .pdf") == 1
    manifest = json.loads(Path(f"{folder}.set/manifest.json").read_text())
    assert manifest["input"]["left_out"] == {".docx": 1, ".pdf": 2}


def test_a_row_needs_one_of_several_fields(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = [{"title": "A", "body": "a"}, {"title": "B"}, {"title": None, "body": "c"}, {"title": "", "body": "d"}]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = statistics(folder, "data.text_field=[title,body,boddy.text]")
    source = found["sources"]["files"]
    assert (source["documents"], source["bytes"]) == (4, len("A\n\na") + 3)
    assert source["missing"] == {"boddy.text": 4, "body": 1, "title": 1}
    assert "no row of files has boddy.text" in caplog.text
    assert "body," not in caplog.text
