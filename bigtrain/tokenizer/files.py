"""Tokenizer files of any kind, told apart by what is in them -> the tokenizer.json that gives the same ids.

tokenizer.json               as it is
vocab.json + merges.txt      byte-level BPE as GPT-2 wrote it (encoder.json + vocab.bpe), RoBERTa, Qwen 2
vocab.txt                    WordPiece of BERT, a token a line
*.model                      SentencePiece: `sentencepiece_model.py`
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bigtrain.errors import UserError, kind_of
from bigtrain.tokenizer.fast_encode import BYTE_OF, QWEN2
from bigtrain.tokenizer.sentencepiece_model import convert, looks_like_sentencepiece

Spec = dict[str, Any]

_FOLDER = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "encoder.json", "vocab.txt")
_VOCABS, _MERGES = ("vocab.json", "encoder.json"), ("merges.txt", "vocab.bpe")
BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
BERT_INPUTS = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}  # that transformers makes
_GPT = {"eos_token": "<|endoftext|>"}
ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
_RULE = "a tokenizer is a tokenizer.json, GPT-2's vocabulary and merges, BERT's vocab.txt, a SentencePiece model, or a \
folder that holds one"


def read(path: Path) -> tuple[Spec, dict[str, Any]]:
    """The content of the tokenizer.json, and what the files beside it say. Raises UserError."""
    file = _in_folder(path) if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"tokenizer {path}: no such file", _RULE, "check the path")
    beside = _beside(file.parent)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}", "it must be readable", "restore the file") from error
    if looks_like_sentencepiece(content):
        spec, known = convert(content, str(file))
    elif file.suffix == ".json" or content.lstrip()[:1] == b"{":
        parsed = read_json(file)
        if _is_vocabulary(parsed):
            spec, known = _from_merges(file, _partner(file, _MERGES), beside)
        else:
            spec, known = parsed, {}
    else:
        lines = _lines(file, content)
        if _are_merges(lines):
            spec, known = _from_merges(_partner(file, _VOCABS), file, beside)
        else:
            spec, known = _from_word_pieces(file, lines, beside)
    if not known:
        return spec, beside
    spec, config = with_tokens(spec, _added_beside(file.parent, beside)), {**known, **beside}
    return (_begun(spec, config) if config.get("add_bos_token") else spec), config


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", "it must be readable JSON", "restore the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: {kind_of(content)}", "it must be a JSON object", "restore the file")
    return content


def with_tokens(spec: Spec, tokens: list[dict[str, Any]]) -> Spec:
    """The spec with further added tokens (`content`, `special`): the id of the entry of that name, else the next one.

    Those that are there already stay as they are.
    """
    vocab = spec["model"].get("vocab") or {}
    ids = dict(vocab) if isinstance(vocab, dict) else {entry[0]: id_ for id_, entry in enumerate(vocab)}
    added = list(spec.get("added_tokens") or [])
    ids |= {token["content"]: token["id"] for token in added}
    there = {token["content"] for token in added}
    for token in tokens:
        content = token["content"]
        if content in there:
            continue
        ids.setdefault(content, max(ids.values(), default=-1) + 1)
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        added.append({"id": ids[content], **plain, **token})
        there.add(content)
    return {**spec, "added_tokens": sorted(added, key=lambda token: token["id"])}


def special(*contents: str) -> list[dict[str, Any]]:
    """Special tokens as `with_tokens` takes them."""
    return [{"content": content, "special": True} for content in contents]


def roberta_special(known: dict[str, str]) -> list[dict[str, Any]]:
    """The same for tokens by role; RoBERTa's mask stands for the blank before a word as well, as its words do."""
    tokens = special(*dict.fromkeys(known.values()))
    return [{**token, "lstrip": token["content"] == ROBERTA_TOKENS["mask_token"]} for token in tokens]


def roberta_ends(vocab: dict[str, int]) -> Spec:
    """<s> before a text, </s> behind it, and both of </s></s> between two texts."""
    cls, sep = (ROBERTA_TOKENS[key] for key in ("cls_token", "sep_token"))
    ends = {"sep": [sep, vocab[sep]], "cls": [cls, vocab[cls]]}
    return {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False}


def byte_level_bpe(vocab: dict[str, int], merges: list[list[str]], pattern: str | None = None) -> Spec:
    """Byte-level BPE within the words of GPT-2's pre-tokenizer, or of another `pattern` after NFC as Qwen 2's is."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": pattern is None}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "NFC"} if pattern else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]} if pattern else byte_level,
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def word_pieces(vocab: dict[str, int], *, lowercase: bool, chinese: bool = True, accents: bool | None = None) -> Spec:
    """BERT's WordPiece (github.com/google-research/bert, tokenization.py).

    lowercase: letters, and their accents taken off. chinese: every Chinese character is a word. accents: whether they
    are taken off; None: as `lowercase` says. transformers puts [CLS] and [SEP] around a text, as a model is trained.
    """
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": chinese,
            "strip_accents": accents,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _cls_and_sep(vocab) if {"[CLS]", "[SEP]"} <= vocab.keys() else None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }


def _in_folder(folder: Path) -> Path:
    """The file of a folder that says most; of a run or a checkpoint, that of its model."""
    runs = sorted(folder.glob("checkpoints/step-*/model"), reverse=True)  # all have the same tokenizer
    for place in (folder, folder / "model", *runs):
        for file in [*(place / name for name in _FOLDER), *sorted(place.glob("*.model"))]:
            if file.is_file():
                return file
    raise UserError(
        f"tokenizer {folder}: no tokenizer.json nor another tokenizer file",
        _RULE,
        "check the path; transformers' AutoTokenizer.save_pretrained writes such a folder",
    )


def _beside(folder: Path) -> dict[str, Any]:
    """What stands in the files around a tokenizer's own."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            config.update(read_json(folder / name))
    template = folder / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = template.read_text(encoding="utf-8")
    return config


def _begun(spec: Spec, config: dict[str, Any]) -> Spec:
    """With bos before a text, as Llama's tokenizer_config.json asks for; a tokenizer.json says it itself."""
    token = config.get("bos_token")
    name = token.get("content") if isinstance(token, dict) else token
    id_ = next((token["id"] for token in spec["added_tokens"] if token["content"] == name), None)
    if id_ is None:
        return spec
    first = [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*first, {"SpecialToken": {"id": name, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    special_tokens = {name: {"id": name, "ids": [id_], "tokens": [name]}}
    template = {"type": "TemplateProcessing", "single": first, "pair": pair, "special_tokens": special_tokens}
    return {**spec, "post_processor": template}


def _added_beside(folder: Path, beside: dict[str, Any]) -> list[dict[str, Any]]:
    """Tokens that were added to a vocabulary after its training, in the order of their ids."""
    found: dict[int, dict[str, Any]] = {}
    if (folder / "added_tokens.json").is_file():
        found = {int(id_): special(content)[0] for content, id_ in read_json(folder / "added_tokens.json").items()}
    keys = ("content", "special", "lstrip", "rstrip", "single_word", "normalized")
    for id_, token in (beside.get("added_tokens_decoder") or {}).items():
        found[int(id_)] = {key: token[key] for key in keys if key in token}
    return [found[id_] for id_ in sorted(found)]


def _partner(file: Path, names: tuple[str, ...]) -> Path:
    """The other file of a vocabulary with merges. Raises UserError."""
    for name in names:
        if (file.parent / name).is_file():
            return file.parent / name
    raise UserError(
        f"{file}: no {' or '.join(names)} beside it", "byte-level BPE needs its vocabulary and its merges", "add it"
    )


def _is_vocabulary(parsed: dict[str, Any]) -> bool:
    return bool(parsed) and all(type(id_) is int for id_ in parsed.values())


def _lines(file: Path, content: bytes) -> list[str]:
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: neither UTF-8 text nor a SentencePiece model ({error})", _RULE, "check the path"
        ) from error
    return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]


def _are_merges(lines: list[str]) -> bool:
    """Pairs with one blank between them; no vocabulary of word pieces has a blank in it."""
    rest = lines[1:] if lines[:1] and lines[0].startswith("#version") else lines
    return bool(rest) and all(line.count(" ") == 1 for line in rest if line)


def _from_merges(vocab_file: Path, merges_file: Path, beside: dict[str, Any]) -> tuple[Spec, dict[str, Any]]:
    """GPT-2's pair of files (github.com/openai/gpt-2, encoder.py)."""
    vocab = read_json(vocab_file)
    if not _is_vocabulary(vocab) or not BYTE_OF.keys() <= vocab.keys():
        raise UserError(
            f"{vocab_file}: not every byte has an entry",
            "vocabulary and merges are read as byte-level BPE, GPT-2's way",
            "give a tokenizer.json: transformers' AutoTokenizer.save_pretrained writes one",
        )
    lines = _lines(merges_file, merges_file.read_bytes())
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    wrong = next((pair for pair in pairs if len(pair) != 2 or not {*pair, "".join(pair)} <= vocab.keys()), None)
    if wrong:
        raise UserError(
            f"{merges_file}: {' '.join(wrong)!r}",
            f"a merge joins two entries of {vocab_file.name} into a third",
            "name the files of one tokenizer",
        )
    pattern = QWEN2 if beside.get("tokenizer_class") in ("Qwen2Tokenizer", "Qwen2TokenizerFast") else None
    spec = byte_level_bpe(vocab, pairs, pattern)
    roles = _GPT if "<|endoftext|>" in vocab else ROBERTA_TOKENS
    known = {key: token for key, token in roles.items() if token in vocab}
    spec["model"]["unk_token"] = known.get("unk_token")
    if "cls_token" in known and "sep_token" in known:
        spec["post_processor"] = roberta_ends(vocab)
    return with_tokens(spec, roberta_special(known)), known or {"eos_token": None}


def _from_word_pieces(file: Path, lines: list[str], beside: dict[str, Any]) -> tuple[Spec, dict[str, Any]]:
    vocab = {token: id_ for id_, token in enumerate(lines)}
    if "[UNK]" not in vocab:
        raise UserError(
            f"{file}: neither JSON nor a SentencePiece model, nor a vocabulary of word pieces: it has no line [UNK]",
            _RULE,
            "name another tokenizer",
        )
    cased = any(re.fullmatch("(##)?[a-z]*[A-Z][a-zA-Z]*", token) for token in vocab)
    spec = word_pieces(
        vocab,
        lowercase=bool(beside.get("do_lower_case", not cased)),
        chinese=bool(beside.get("tokenize_chinese_chars", True)),
        accents=beside.get("strip_accents"),
    )
    known = {key: token for key, token in BERT_TOKENS.items() if token in vocab}
    return with_tokens(spec, special(*known.values())), {**known, **BERT_INPUTS}


def _cls_and_sep(vocab: dict[str, int]) -> dict[str, Any]:
    """[CLS] before a text and [SEP] after each, as transformers adds them for BERT; encoding here adds none."""

    def token(content: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": content, "type_id": segment}}

    first = [token("[CLS]", 0), {"Sequence": {"id": "A", "type_id": 0}}, token("[SEP]", 0)]
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, {"Sequence": {"id": "B", "type_id": 1}}, token("[SEP]", 1)],
        "special_tokens": {name: {"id": name, "ids": [vocab[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")},
    }
