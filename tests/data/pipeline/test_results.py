"""Results of parts are whole or absent, and damage is noticed when they are found again."""

from pathlib import Path

import pytest

from bigtrain.data.pipeline.results import is_whole, result


def write(final: Path, content: str = "content") -> Path:
    with result(final) as folder:
        (folder / "a.bin").write_text(content)
        (folder / "b.bin").write_bytes(b"")
    return final


def test_a_result_is_found_again(tmp_path: Path) -> None:
    final = write(tmp_path / "documents" / "00000")
    assert is_whole(final)
    assert (final / "a.bin").read_text() == "content"
    assert not is_whole(tmp_path / "documents" / "00001")
    assert [path.name for path in final.parent.iterdir()] == ["00000"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), result(tmp_path / "stage" / "0") as folder:
        (folder / "a").write_text((folder / "missing").read_text())
    assert list((tmp_path / "stage").iterdir()) == []


def test_the_second_of_two_workers_changes_nothing(tmp_path: Path) -> None:
    with result(tmp_path / "0") as folder:
        (folder / "a.bin").write_text("content")
        write(tmp_path / "0")
    assert is_whole(tmp_path / "0")
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


@pytest.mark.parametrize("damage", ["changed", "cut", "grown", "deleted", "no list", "half a list"])
def test_a_torn_result_is_removed(damage: str, tmp_path: Path) -> None:
    final = write(tmp_path / "0")
    file, names = final / "a.bin", final / "done.json"
    match damage:
        case "changed":
            file.write_text("cOntent")
        case "cut":
            file.write_text("")
        case "grown":
            file.write_text("content.")
        case "deleted":
            file.unlink()
        case "no list":
            names.unlink()
        case _:
            names.write_text(names.read_text()[:9])
    assert not is_whole(final)
    assert not final.exists()
