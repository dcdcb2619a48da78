"""The source of Python's standard library as a corpus."""

import sysconfig
from pathlib import Path

import pytest

from bigtrain.data.reading import sources, stdlib
from bigtrain.data.schema import Builtin, DataConfig
from bigtrain.errors import UserError


def test_the_library_of_this_python() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    names = [path.relative_to(root).as_posix() for path in stdlib.python_files()]
    assert names == sorted(names)
    assert {"os.py", "json/decoder.py", "email/message.py"} <= set(names)
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}
    assert not [name for name in names if "_sysconfigdata" in name or name.startswith("config-")]
    assert sum((root / name).stat().st_size for name in names) > 5_000_000


def test_it_is_read_as_documents() -> None:
    documents = list(sources.documents(DataConfig(builtin=Builtin.stdlib)))
    assert any(Path(document.file).name == "os.py" and "def makedirs" in document.text for document in documents)
    assert all(document.text for document in documents)


def test_files_that_are_not_utf8_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b.py").write_text("x = 1")
    (tmp_path / "a.py").write_bytes(b"# coding: latin-1\n'\xe9'")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "c.py").write_text("x = 2")
    with caplog.at_level("INFO", "bigtrain"):
        assert stdlib.python_files(tmp_path) == [tmp_path / "b.py"]
    assert "1 of 2 files are not UTF-8" in caplog.text


def test_where_the_sources_are_absent_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "os.pyc").write_bytes(b"")
    with pytest.raises(UserError, match=r"data\.files="):
        stdlib.python_files(tmp_path)
