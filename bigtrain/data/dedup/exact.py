"""Equal texts, by a hash of what is left of them without white space."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from numpy.typing import NDArray

_SPACE = " \t\n\r\v\f\x1c\x1d\x1e\x1f"  # the ASCII characters that str.split() takes for white space


def document_hash(text: str) -> NDArray[np.uint64]:
    """(2,) uint64: 128 bits of BLAKE2b of the text in Unicode's form C without white space; the case counts."""
    return np.frombuffer(hashlib.blake2b(_content(text), digest_size=16).digest(), "<u8")


def paragraph_hash(text: str) -> int:
    """The same for a paragraph, in 64 bits."""
    return int.from_bytes(hashlib.blake2b(_content(text), digest_size=8).digest(), "little")


def _content(text: str) -> bytes:
    if text.isascii():
        return text.encode("ascii").translate(None, _SPACE.encode("ascii"))
    return "".join(unicodedata.normalize("NFC", text).split()).encode("utf-8", "surrogatepass")
