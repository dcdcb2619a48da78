"""From the config of a tokenizer to what there is of it before anything is trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bigtrain.data.tokenizer_schema import (
    AutoTokenizerConfig,
    BPEConfig,
    FileTokenizerConfig,
    TokenizerConfig,
    TrainableTokenizerConfig,
)
from bigtrain.tokenizer.base import Tokenizer
from bigtrain.tokenizer.chat import chat_template
from bigtrain.tokenizer.files import special, with_tokens

_OF_THE_SET = ("compare", "word_boundaries")  # decide what is stored beside the tokens


def choose(config: TokenizerConfig) -> Tokenizer | TrainableTokenizerConfig:
    """The tokenizer of a file, or the config of one to be trained: byte-level BPE where nothing is asked for.

    Raises UserError where the file, or the chat template, cannot be read.
    """
    match config:
        case FileTokenizerConfig():
            return _from_file(config)
        case AutoTokenizerConfig():
            return BPEConfig()
    return config


def settings(chosen: Tokenizer | TrainableTokenizerConfig) -> dict[str, Any]:
    """All that decides the tokenizer but the text, for manifests and fingerprints; what is off is left out.

    Raises UserError where the chat template cannot be read.
    """
    if isinstance(chosen, Tokenizer):
        found: dict[str, Any] = {"name": "file", "hash": chosen.hash, "eos_id": chosen.eos_id}
        if chosen.begin_ids:
            found["begin_ids"] = chosen.begin_ids
        template = chosen.config.get("chat_template")
    else:
        found = {key: value for key, value in asdict(chosen).items() if value and key not in _OF_THE_SET}
        template = chat_template(chosen.chat_template).text if chosen.chat_template else None
    return {**found, "chat_template": template} if template else found


def _from_file(config: FileTokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer.load(Path(config.path or "").expanduser())
    template = chat_template(config.chat_template) if config.chat_template else None
    further = [*config.special_tokens, *(template.special_tokens if template else ())]
    if not further and not template:
        return tokenizer
    known = {**tokenizer.config, "chat_template": template.text} if template else tokenizer.config
    return Tokenizer(with_tokens(tokenizer.spec, special(*further)), known)
