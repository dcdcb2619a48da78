"""Whether transformers' AutoTokenizer gives the ids that a model was trained with.

It builds its own class for some model types and leaves parts of our tokenizer.json unread (transformers issues 45488
and 48206): of the shapes here, Qwen2's. What is known is said from the files alone. The installed version is asked
itself, in a process of its own: importing it takes seconds, and it is no part of the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bigtrain.data.pipeline import cache_folder
from bigtrain.errors import DiskFull
from bigtrain.log import log
from bigtrain.storage import write_json
from bigtrain.tokenizer import Tokenizer

# Case, blanks, digits, marks, accents in both forms, other scripts: where pre-tokenizers and normalizers differ.
PROBE = "Don't  stop:\n\n\tx1 = 12345.67 # it's naïve, nai\u0308ve　你好，世界 🙂 Привет\u00a0_under_score_ "
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATIENCE_SECONDS = 120
_ASK = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True)
ids = [tokenizer(text)["input_ids"] for text in json.loads(sys.argv[2])]
messages = [{"role": role, "content": "Hi!"} for role in ("user", "assistant", "user")]
try:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    chat = [text, tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)]
except Exception:  # no template, or one that wants other messages
    chat = ["", []]
print(json.dumps({"class": type(tokenizer).__name__, "ids": ids, "chat": chat}))
"""


def pitfall(architecture: str, tokenizer: Tokenizer) -> str | None:
    """Why AutoTokenizer gives other ids for a tokenizer beside a model of this type; None where it does not."""
    if architecture != "qwen2":
        return None
    spec = tokenizer.spec
    if spec["model"].get("type") == "BPE" and spec["normalizer"] == {"type": "NFC"} and _pattern(spec) == _QWEN2:
        return None
    return (
        "for model_type qwen2 it builds Qwen2Tokenizer, which cuts words in Qwen's way and not as tokenizer.json says; "
        "PreTrainedTokenizerFast.from_pretrained reads the file as it is"
    )


def _pattern(spec: dict[str, Any]) -> str | None:
    """The regular expression that words are cut by, where a byte-level step follows it as in Qwen's files."""
    steps = (spec["pre_tokenizer"] or {}).get("pretokenizers") or []
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return None
    return (steps[0].get("pattern") or {}).get("Regex")


def warn_of_pitfall(architecture: str, tokenizer: Tokenizer) -> None:
    """Say what is known, before time is spent on training."""
    if reason := pitfall(architecture, tokenizer):
        _warn(reason)


def check_installed(folder: Path, architecture: str, tokenizer: Tokenizer) -> None:
    """Compare ids with those of the installed transformers' defaults, and warn where they differ.

    Those of a probe text, of the same with special tokens in it, and of what the chat template writes, if there is one.

    folder: a whole model folder. Takes seconds the first time; the answer is kept in the cache for this version, type
    and tokenizer. What `warn_of_pitfall` has said is not said again.
    """
    answer = _answer(folder, architecture, tokenizer)
    if not answer or pitfall(architecture, tokenizer):
        return
    text, chat = answer["chat"]
    both = zip(answer["ids"], (_framed(tokenizer, probe) for probe in _probes(tokenizer)), strict=True)
    same = [theirs == ours for theirs, ours in both] + [chat == _found(tokenizer, text)]
    if not all(same):
        where = ("text", "text with special tokens in it", "what the chat template writes")[same.index(False)]
        _warn(
            f"for {where} it builds {answer['class']}; PreTrainedTokenizerFast.from_pretrained reads the file as it is"
        )


def _probes(tokenizer: Tokenizer) -> list[str]:
    """A text, and one with the special tokens that have a role."""
    special = [token["content"] for token in tokenizer.spec["added_tokens"] if token["special"]]
    named = [token for token in special if tokenizer.backend.token_to_id(token) in tokenizer.roles.values()]
    return [PROBE, "".join(f"a {token} b" for token in named)]


def _framed(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids with what the tokenizer puts around a text."""
    before, after = tokenizer.around
    return [*before, *_found(tokenizer, text), *after]


def _found(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.marked.encode(text, add_special_tokens=False).ids)


def _warn(reason: str) -> None:
    log.warning("transformers' AutoTokenizer gives other ids than this model is trained with: %s", reason)


def _answer(folder: Path, architecture: str, tokenizer: Tokenizer) -> dict[str, Any] | None:
    """What `_ASK` says of AutoTokenizer; None where it cannot be asked."""
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return None
    probes = _probes(tokenizer)
    question = [version, architecture, tokenizer.hash, sorted(tokenizer.config.items()), _ASK, probes]
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    kept = cache_folder() / "auto_tokenizer" / f"{digest}.json"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return _shaped(json.loads(kept.read_bytes()))
    answer = _ask(folder.resolve(), probes)
    if answer:
        with contextlib.suppress(OSError, DiskFull):  # a cache that cannot be written is none
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, answer)
    return answer


def _shaped(answer: Any) -> dict[str, Any]:
    text, chat = answer["chat"]
    return {"class": str(answer["class"]), "ids": list(answer["ids"]), "chat": [str(text), list(chat)]}


def _ask(folder: Path, probes: list[str]) -> dict[str, Any] | None:
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _ASK, str(folder), json.dumps(probes)],
            env={**os.environ, **offline},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
        )
        return _shaped(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        log.info("transformers could not be asked whether it reads the tokenizer alike: %s", "".join(said[-1:]))
        return None
