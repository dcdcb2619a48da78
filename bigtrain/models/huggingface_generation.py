"""generation_config.json: where transformers' `generate` begins and ends a text, and how it draws by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigtrain.models.adapter_folder import tokenizer_folder
from bigtrain.models.huggingface_config import eos_ids, read_config, token_ids
from bigtrain.models.huggingface_keys import read_json
from bigtrain.tokenizer import Tokenizer

FILE = "generation_config.json"
_DRAWING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def ending_ids(folder: Path) -> list[int]:
    """The tokens that end a text of this model, by config.json and by generation_config.json.

    Models that chat end a turn with another token than a document. Raises UserError for a damaged file.
    """
    return list(dict.fromkeys([*read_config(folder).eos_ids, *eos_ids(_content(folder))]))


def inherited(folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a model that starts from a folder keeps of its settings: how it draws, where a text ends and begins.

    Qwen's tokenizers have no bos, while its config.json names the token that a text begins with.
    """
    own = Tokenizer.load(tokenizer_folder(folder))
    ends = [own.backend.id_to_token(id_) for id_ in ending_ids(folder)]
    ids = [tokenizer.backend.token_to_id(token) for token in ends if token is not None]
    kept = {key: value for key, value in _content(folder).items() if key in _DRAWING}
    kept["eos_token_id"] = [id_ for id_ in ids if id_ is not None]
    bos_id = read_config(folder).bos_id
    begin = own.backend.id_to_token(bos_id) if bos_id is not None and 0 <= bos_id < own.vocab_size else None
    if begin is not None and "bos_token" not in tokenizer.roles and tokenizer.backend.token_to_id(begin) is not None:
        kept["bos_token_id"] = tokenizer.backend.token_to_id(begin)
    return kept


def generation_json(tokenizer: Tokenizer, kept: dict[str, Any]) -> dict[str, Any]:
    """The generation_config.json of a model. kept: what `inherited` gives of the one that it started from."""
    own = token_ids(tokenizer)
    ends = list(dict.fromkeys(id_ for id_ in (own["eos_token_id"], *kept.get("eos_token_id", [])) if id_ is not None))
    eos = ends if len(ends) > 1 else next(iter(ends), None)
    return {**own, **kept, "eos_token_id": eos, "pad_token_id": tokenizer.pad_id}


def _content(folder: Path) -> dict[str, Any]:
    return read_json(folder / FILE) if (folder / FILE).is_file() else {}
