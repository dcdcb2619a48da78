"""What bytes become as text, and what is said of those that are unreadable."""

import json
from pathlib import Path

import pytest

from bigtrain.data.reading import sources
from bigtrain.data.reading.encodings import Decoder, detect
from bigtrain.data.schema import DataConfig, OnError, SourceConfig
from bigtrain.errors import UserError

POLISH = "Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. "
LANGUAGES = {  # of the Universal Declaration: the encodings that text in them was written in
    "deu_1901": ["cp1252"],
    "fra": ["cp1252"],
    "ita": ["cp1252"],
    "pol": ["cp1250", "iso8859-2"],
    "rus": ["cp1251", "koi8-r", "cp866"],
    "ukr": ["cp1251", "koi8-u"],
    "ell_monotonic": ["cp1253"],
    "heb": ["cp1255"],
    "arb": ["cp1256"],
    "tha": ["cp874"],
    "cmn_hans": ["gb18030"],
    "jpn": ["cp932", "euc-jp"],
    "kor": ["cp949"],
}


def documents(path: Path, **settings: object) -> list[sources.Document]:
    made = DataConfig(files=[str(path)], **settings)  # type: ignore[arg-type]
    made.check()
    return list(sources.documents(made))


@pytest.mark.parametrize("language", LANGUAGES)
def test_real_text_in_the_encodings_it_was_written_in(language: str, test_data: Path, tmp_path: Path) -> None:
    text = (test_data / "udhr_languages" / f"{language}.txt").read_text(encoding="utf-8")
    for encoding in LANGUAGES[language]:
        content = text.encode(encoding, "ignore")  # some marks came later than the encoding
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes(content)
        (document,) = documents(path)
        assert document.text == content.decode(encoding), document.encoding
        assert document.replacements == 0
        assert document.encoding != "utf-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.json", "a.html"])
def test_byte_order_marks(encoding: str, name: str, tmp_path: Path) -> None:
    content = {
        "a.txt": "Käse\n中文",
        "a.jsonl": '{"text": "Käse"}\n{"text": "中文"}\n',
        "a.csv": "text,n\nKäse,1\n中文,2\n",
        "a.json": '[{"text": "Käse"}, {"text": "中文"}]',
        "a.html": f"<html><body><article><p>Käse {'und Brot ' * 40}.</p><p>中文</p></article></body></html>",
    }[name]
    path = tmp_path / name
    path.write_bytes(content.encode(encoding))
    found = documents(path)
    assert "Käse" in found[0].text
    assert "中文" in found[-1].text
    assert {document.replacements for document in found} == {0}
    if name in ("a.txt", "a.jsonl", "a.csv"):
        assert {document.encoding for document in found} == {encoding.removesuffix("-sig")}


def test_a_few_broken_bytes_do_not_make_another_encoding(tmp_path: Path) -> None:
    content = (POLISH * 3).encode()
    path = tmp_path / "a.txt"
    path.write_bytes(content + b"\xc5\n" + content + b"\xff\xfe \xef\xbf\xbd\n" + content)
    (document,) = documents(path)
    assert document.encoding == "utf-8"
    assert document.replacements == 3  # the U+FFFD that was there before is not one of them
    assert document.text.count("\ufffd") == 4
    assert POLISH in document.text


def test_lines_in_two_encodings(tmp_path: Path) -> None:
    """Two exports put together: each line is read in its own."""
    path = tmp_path / "a.jsonl"
    rows = [(f"{POLISH} {n}", "utf-8" if n % 3 else "cp1250") for n in range(60)]
    lines = [json.dumps({"text": text}, ensure_ascii=False).encode(encoding) for text, encoding in rows]
    path.write_bytes(b"\n".join(lines))
    assert [(document.text, document.encoding) for document in documents(path)] == rows


def test_a_file_that_is_mostly_foreign_is_foreign_where_it_happens_to_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "联通\n" + "自一九四九年以来，这里的人们就使用这种编码来书写文字。\n" * 20
    assert "联通".encode("gbk").decode("utf-8", "ignore") != ""  # the pair that Notepad was famous for
    path.write_bytes(text.encode("gbk"))
    (document,) = documents(path)
    assert document.text == text
    assert document.encoding == "gb18030"


def test_a_named_encoding_reads_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "Müll"}\n{"text": "x"}\n'.encode("cp1252"))
    assert documents(path, encoding="cp1252")[0].text == "Müll"
    with pytest.raises(UserError, match=r"a\.jsonl:1: not UTF-8 \(byte 0xfc at byte offset 11\)"):
        documents(path, encoding="utf-8")
    assert [document.text for document in documents(path, encoding="utf-8", on_error=OnError.skip)] == ["x"]
    with pytest.raises(UserError, match="not ascii"):
        documents(path, encoding="ascii")
    (tmp_path / "b.json").write_bytes('[{"text": "Müll"}]'.encode("cp1252"))
    with pytest.raises(UserError, match=r"b\.json: not utf-8"):
        documents(tmp_path / "b.json", encoding="utf-8")
    (tmp_path / "c.jsonl").write_bytes('{"text": "wide"}\n{"text": "ü"}\n'.encode("utf-16-le"))
    assert [document.text for document in documents(tmp_path / "c.jsonl", encoding="utf-16-le")] == ["wide", "ü"]


@pytest.mark.parametrize("name", ["klingon", "base64", "\0", ""])
def test_an_encoding_that_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.encoding="):
        DataConfig(files=["x"], encoding=name).check()
    with pytest.raises(UserError, match=r"data\.sources\.web\.encoding="):
        DataConfig(sources={"web": SourceConfig(files=["x"], encoding=name)}).check()


def test_binary_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x89PNG\r\n\0\0")
    with pytest.raises(UserError, match="binary"):
        documents(path)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "\0\1"}\n{"text": "M\xfcll"}\n')
    assert [document.text for document in documents(path, on_error=OnError.skip)] == ["a", "Müll"]
    (tmp_path / "b.txt").write_bytes(b"text before\n" * 1000 + bytes(range(256)) * 200)
    with pytest.raises(UserError, match="binary"):
        documents(tmp_path / "b.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.jsonl", "a.csv"])
def test_a_nul_among_text_is_replaced_and_counted(name: str, encoding: str, tmp_path: Path) -> None:
    content = "Käse und Brot für alle, und über\0 alles.\n"
    if name == "a.html":
        more = "And more. " * 40
        page = (
            f"<html><head><meta charset={encoding}></head><body><article><p>{content}{more}</p></article></body></html>"
        )
    else:
        page = {"a.txt": content, "a.jsonl": f'{{"text": "{content.strip()}"}}', "a.csv": f'text\n"{content}"\n'}[name]
    (tmp_path / name).write_bytes(page.encode(encoding))
    (document,) = documents(tmp_path / name)
    assert "über\ufffd alles." in document.text
    assert document.replacements == 1
    if encoding != "utf-16":
        with pytest.raises(UserError, match="NUL byte"):
            documents(tmp_path / name, encoding=encoding)


def test_without_the_package_the_encoding_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "charset_normalizer", None)
    assert Decoder("auto", "x").whole("Käse".encode()).text == "Käse"
    with pytest.raises(UserError, match="charset-normalizer"):
        Decoder("auto", "x").whole("Käse".encode("cp1252"))


def test_detection_does_not_depend_on_what_was_seen_before() -> None:
    texts = [POLISH.encode("cp1250"), "Käse und Brot für alle".encode("cp1252"), "Все люди рождаются".encode("koi8-r")]
    assert [detect(text) for text in texts] == [detect(text) for text in texts[::-1]][::-1]
