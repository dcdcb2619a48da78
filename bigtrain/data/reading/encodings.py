"""Bytes as text: UTF-8, a named encoding, or whatever the bytes look like, with a count of what was unreadable."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from bigtrain.errors import UserError

_BOM = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), *((mark, "utf-16") for mark in _UTF16))
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))  # that text has no use for
_EVIDENCE = 1 << 14  # bytes that an encoding is told by
_COMMON = (  # encodings that text is found in, roughly in the order of how much
    *("cp1252", "gb18030", "cp932", "cp1251", "big5", "cp949", "euc_jp", "cp1250", "koi8_r", "cp1254", "cp1253"),
    *("cp1256", "cp1255", "iso8859_2", "cp874", "cp1257", "koi8_u", "cp866", "mac_roman", "cp1258"),
)


class Decoded(NamedTuple):
    """A text, the encoding it came in, and how many unreadable places were replaced by U+FFFD."""

    text: str
    encoding: str = "utf-8"
    replacements: int = 0


def decode(content: bytes, where: str, encoding: str = "utf-8") -> str:
    """Bytes of a named encoding as text, without a byte order mark. Raises UserError for anything else."""
    name = encoding.upper() if encoding.lower().startswith("utf") else encoding
    if b"\0" in content and not is_wide(encoding):
        kind = "UTF-16" if content.startswith(_UTF16) else "binary"
        raise UserError(
            f"{where}: {kind} (a NUL byte at byte offset {content.index(0)})",
            f"input is text in {name}",
            f"convert it to {name}" if kind == "UTF-16" else "name text files only",
        )
    try:
        return content.decode(encoding).removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not {name} (byte 0x{content[error.start]:02x} at byte offset {error.start})",
            f"input is text in {name}",
            "convert it, for example with `iconv -f ISO-8859-1 -t UTF-8`; raw text is told by data.encoding=auto",
        ) from None


def is_wide(encoding: str) -> bool:
    """Whether a line end is more than one byte, so that the bytes cannot be cut at them."""
    return encoding != "auto" and len("\n".encode(encoding)) > 1


def marked(head: bytes) -> str | None:
    """The wide encoding that a byte order mark at the beginning of a file names."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


class Line(NamedTuple):
    """A line with its end, or what is wrong with it."""

    number: int
    content: str | UserError
    encoding: str = "utf-8"
    replacements: int = 0


class Decoder:
    """The text of one file, block by block.

    With `auto` every line that is UTF-8 stays that; in one that is UTF-8 with a few broken places these are replaced by
    U+FFFD and counted; other lines are taken for the one encoding that charset-normalizer finds most likely, and with
    them all lines of a block that is mostly such. NUL bytes among text are replaced and counted, too. With a named
    encoding every byte must make sense in it.

    from_start: whether a byte order mark may come first. declared: an encoding that the content names itself.
    """

    def __init__(self, encoding: str, path: str, *, from_start: bool = True, declared: str | None = None) -> None:
        self._encoding, self._path, self._foreign = encoding, path, declared
        self._at_start = from_start

    def whole(self, content: bytes) -> Decoded:
        """The text of a file. Raises UserError where it is binary, or not in the named encoding."""
        if self._encoding != "auto":
            return Decoded(decode(content, self._path, self._encoding), self._encoding)
        if self._at_start and (wide := marked(content)):
            return _without_nul(_replaced(content, wide))
        if _is_binary(content):
            raise _binary(content, self._path)
        try:
            return self._unmarked(_without_nul(Decoded(content.decode("utf-8"))))
        except UnicodeDecodeError:
            lines = self._by_line(_lines(content))
        other = next((line.encoding for line in lines if line.encoding != "utf-8"), "utf-8")
        text = "".join(line.text for line in lines)
        return self._unmarked(Decoded(text, other, sum(line.replacements for line in lines)))

    def lines(self, content: bytes, first: int) -> list[Line]:
        """The lines of a block of whole lines; `first` is the number of the first one.

        A line that is binary, or not in the named encoding, is a UserError.
        """
        try:
            if b"\0" in content or self._encoding not in ("auto", "utf-8"):
                raise UnicodeError  # to be read line by line
            text = content.decode("utf-8")
        except UnicodeError:
            found = self._hard_lines(_lines(content), first)
        else:
            *whole, last = text.split("\n")
            found = [Line(number, f"{line}\n") for number, line in enumerate(whole, first)]
            found += [Line(first + len(whole), last)] if last else []
        if self._at_start and found and isinstance(found[0].content, str):
            found[0] = found[0]._replace(content=found[0].content.removeprefix(_BOM))
        self._at_start = False
        return found

    def _hard_lines(self, lines: list[bytes], first: int) -> list[Line]:
        """Lines of which some are not UTF-8."""
        if self._encoding != "auto":
            return [self._strict(line, number) for number, line in enumerate(lines, first)]
        binary = [_is_binary(line) for line in lines]
        readable = iter(self._by_line([line for line, is_binary in zip(lines, binary, strict=True) if not is_binary]))
        return [
            Line(number, _binary(line, f"{self._path}:{number}")) if is_binary else Line(number, *next(readable))
            for number, (line, is_binary) in enumerate(zip(lines, binary, strict=True), first)
        ]

    def _strict(self, line: bytes, number: int) -> Line:
        try:
            return Line(number, decode(line, f"{self._path}:{number}", self._encoding), self._encoding)
        except UserError as error:
            return Line(number, error)

    def _by_line(self, lines: list[bytes]) -> list[Decoded]:
        found = [_as_utf8(line) for line in lines]
        foreign = b"".join(line for line, decoded in zip(lines, found, strict=True) if decoded is None)
        own = b"".join(line for line, decoded in zip(lines, found, strict=True) if decoded is not None)
        if foreign and self._foreign is None:
            self._foreign = detect(foreign.replace(b"\0", b""))
        mostly_foreign = _n_high(foreign) > _n_high(own)
        return [
            _without_nul(
                self._as_foreign(line, decoded)
                if decoded is None or (mostly_foreign and not line.isascii())
                else decoded
            )
            for line, decoded in zip(lines, found, strict=True)
        ]

    def _as_foreign(self, line: bytes, otherwise: Decoded | None) -> Decoded:
        assert self._foreign is not None
        result = _replaced(line, self._foreign)
        return otherwise if otherwise is not None and otherwise.replacements <= result.replacements else result

    def _unmarked(self, decoded: Decoded) -> Decoded:
        """Without the byte order mark, where this is the beginning of the file."""
        if self._at_start and decoded.text.startswith(_BOM):
            decoded = Decoded(decoded.text.removeprefix(_BOM), decoded.encoding, decoded.replacements)
        self._at_start = False
        return decoded


def detect(content: bytes) -> str:
    """The likeliest encoding of text that is not UTF-8; `utf-8` where nothing is likely. Raises UserError.

    charset-normalizer measures how odd the text would be and how much like a language; near ties go to the encoding
    that more text is in. (Its own choice among all encodings, some of which nobody uses, is right less often: 85 % of
    435 pieces of text in 17 encodings of 19 languages, against 93 %.)
    """
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise UserError(
            "text that is not UTF-8",
            "data.encoding=auto needs the package charset-normalizer to tell its encoding",
            "pip install 'bigtrain[data]', or give data.encoding=NAME",
        ) from error
    sample, found = content[:_EVIDENCE], []
    for place, encoding in enumerate(_COMMON):
        match = from_bytes(sample, cp_isolation=[encoding]).best()
        if match:
            found.append((round(match.chaos, 2), -round(30 * match.coherence), place))
    if found:
        return _COMMON[min(found)[-1]].replace("_", "-")
    best = from_bytes(sample).best()
    return best.encoding.replace("_", "-") if best else "utf-8"


def guess(head: bytes) -> str:
    """The encoding of a file that begins like this, for text that cannot be read line by line. Raises UserError."""
    if wide := marked(head):
        return wide
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return "utf-8" if _as_utf8(head) else detect(b"".join(line for line in _lines(head) if _as_utf8(line) is None))
    return "utf-8"


def _as_utf8(line: bytes) -> Decoded | None:
    """The line in UTF-8, broken places replaced; None where there are more of them than characters beyond ASCII."""
    try:
        return Decoded(line.decode("utf-8"))
    except UnicodeDecodeError:
        decoded = _replaced(line, "utf-8")
    n_characters = len(decoded.text) - len(decoded.text.encode("ascii", "ignore"))
    return decoded if n_characters > 2 * decoded.replacements else None


def _replaced(content: bytes, encoding: str) -> Decoded:
    """Text with U+FFFD for what makes no sense; those that the content itself holds are not counted."""
    text = content.decode(encoding, "replace").removeprefix(_BOM)
    count = text.count("\ufffd")
    return Decoded(text, encoding, count - content.decode(encoding, "ignore").count("\ufffd") if count else 0)


def _is_binary(content: bytes) -> bool:
    """Whether a NUL byte is no accident: one of several control bytes that are more than 1 % of all."""
    return b"\0" in content and len(content) - len(content.translate(None, _CONTROLS)) > max(1, len(content) // 100)


def _without_nul(decoded: Decoded) -> Decoded:
    """With U+FFFD for each NUL."""
    if n := decoded.text.count("\0"):
        return Decoded(decoded.text.replace("\0", "\ufffd"), decoded.encoding, decoded.replacements + n)
    return decoded


def _binary(content: bytes, where: str) -> UserError:
    return UserError(
        f"{where}: binary (a NUL byte at byte offset {content.index(0)})", "input is text", "name text files only"
    )


def _n_high(content: bytes) -> int:
    """Bytes beyond ASCII."""
    return len(content) - len(content.decode("ascii", "ignore"))


def _lines(content: bytes) -> list[bytes]:
    """Lines with their ends, cut at line feeds only."""
    *whole, last = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])
