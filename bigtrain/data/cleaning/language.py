"""Which language a document is written in: py3langid (Barbaresi; Lui and Baldwin 2012) on a sample of it.

The model counts byte n-grams, found by an automaton, and adds up their weights. py3langid walks the automaton byte by
byte in Python; here all positions walk at once in numpy. An automaton of n-grams forgets what lies further back than
its longest one, so that as many steps as that from any position end in the state of the whole walk.
"""

from __future__ import annotations

import difflib
import functools
import math
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.cleaning.schema import LanguageConfig
from bigtrain.environment import version
from bigtrain.errors import UserError

# ISO 639-3's members of a macrolanguage: told apart badly by n-grams, so that together they are surer of themselves
_MACROLANGUAGES = {"yue": "zh", "wuu": "zh", "arz": "ar", "ary": "ar", "nn": "no", "uzs": "uz", "sdh": "ku"}
UNSURE = "language:unsure"
_SURE = 0.65  # FineWeb (Penedo et al. 2024)
SAMPLE = 400  # characters: enough to tell apart all languages of the UDHR at hand


class LanguageRule:
    """The language of a text, and whether it stays."""

    def __init__(self, config: LanguageConfig) -> None:
        """Raises UserError where py3langid is not installed or does not know a language of the lists."""
        self._config = config
        self._identifier = _identifier()
        for key in ("keep", "drop"):
            for language in getattr(config, key):
                if language not in self._identifier.labels:
                    raise _unknown(f"clean.language.{key}={language}", language, self._identifier.labels)

    def __call__(self, text: str) -> tuple[str, float, str | None]:
        """ISO 639 code, confidence between 0 and 1, and why the document is dropped."""
        language, confidence = self._identifier(sample(text))
        config = self._config
        reason = None
        if config.min_confidence is not None and confidence < config.min_confidence:
            reason = UNSURE
        elif language in config.drop or (config.keep and language not in config.keep):
            reason = "language:unwanted"
        return language, confidence, reason


def named(text: str) -> str | None:
    """ISO 639 code of a text; None where it is unsure, or py3langid is not installed."""
    if version("py3langid") is None:
        return None
    language, confidence = _identifier()(sample(text))
    return language if confidence >= _SURE else None


def sample(text: str) -> str:
    """SAMPLE characters: half of them from the beginning, half from the middle."""
    if len(text) <= SAMPLE:
        return text
    half = SAMPLE // 2
    middle = max(half, len(text) // 2 - half // 2)
    return f"{text[:half]}\n{text[middle : middle + half]}"


class Identifier:
    """py3langid's classifier with normalised probabilities, the same results faster; macrolanguages are one."""

    def __init__(self, model: Any) -> None:
        """model: a `py3langid.langid.LanguageIdentifier`."""
        self._next = np.frombuffer(model.tk_nextmove, dtype=model.tk_nextmove.typecode)  # (states * 256,)
        self._row = np.asarray(model.tk_row, dtype=np.uint32) << np.uint32(8)  # (states,)
        self._feature = np.asarray(model.tk_output, dtype=np.int32)  # (states,), -1: none
        self._weights = np.asarray(model.nb_ptc, dtype=np.float32)  # (features, columns)
        self._prior = np.asarray(model.nb_pc, dtype=np.float32)
        self._labels = [_MACROLANGUAGES.get(label, label) for label in model.nb_classes]
        self._twins = [  # of a language in two scripts, or of a macrolanguage: the first column and the others
            (self._labels.index(label), index)
            for index, label in enumerate(self._labels)
            if self._labels.index(label) < index
        ]
        self._depth = _depth(self._next, self._row)
        self.labels = frozenset(self._labels)

    def __call__(self, text: str) -> tuple[str, float]:
        """Language and probability of a text; ("und", 0.0) where no n-gram is known."""
        raw = unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")
        features, counts = self.features(raw)
        if not len(features):
            return "und", 0.0
        # not a matrix product: there the order of the sums depends on how many threads the process has
        scores = np.einsum("i,ij->j", np.log1p(counts.astype(np.float32)), self._weights[features]) + self._prior
        scores *= 1.0 / math.sqrt(len(raw))
        np.exp(scores - scores.max(), out=scores)
        scores /= scores.sum()
        for first, second in self._twins:
            scores[first] += scores[second]
            scores[second] = 0
        best = int(scores.argmax())
        return self._labels[best], float(scores[best])

    def features(self, raw: bytes) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The n-grams of a text by number, and how often each occurs."""
        depth, n = self._depth, len(raw)
        padded = np.zeros(n + depth - 1, np.uint32)
        padded[depth - 1 :] = np.frombuffer(raw, np.uint8)
        state = np.zeros(n, np.uint32)
        for step in range(depth):
            state = self._next[self._row[state] + padded[step : step + n]]
            state[: max(0, depth - 1 - step)] = 0  # these are still before the beginning of the text
        found = np.sort(self._feature[state])
        found = found[found.searchsorted(0) :]
        last = np.append((found[1:] != found[:-1]).nonzero()[0], len(found) - 1)[: len(found)]
        counts = last.copy()
        counts[:1] += 1
        counts[1:] -= last[:-1]
        return found[last], counts


def _depth(following: NDArray[Any], row: NDArray[np.uint32]) -> int:
    """Steps from the first state to the one that lies furthest away: the bytes of the longest n-gram."""
    table = following.reshape(-1, 256)
    seen = np.zeros(len(row), bool)
    front, depth = np.zeros(1, np.int64), -1
    while len(front):
        seen[front] = True
        depth += 1
        reached = np.zeros(len(row), bool)
        reached[table[np.unique(row[front] >> np.uint32(8))].ravel()] = True
        front = np.flatnonzero(reached & ~seen)
    return depth


@functools.cache
def _identifier() -> Identifier:
    """One for each process: its tables take 100 MB and a second to load."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            "clean.language.identify=true",
            "identifying languages needs the package py3langid",
            "pip install 'bigtrain[data]', or set clean.language.identify=false",
        ) from None
    return Identifier(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))


def _unknown(given: str, language: str, labels: frozenset[str]) -> UserError:
    near = difflib.get_close_matches(language, sorted(labels), n=1)
    return UserError(
        given,
        f"languages are named by their ISO 639 code, and these are known: {', '.join(sorted(labels))}",
        f"did you mean {near[0]}?" if near else "take a code of this list",
    )
