"""Small encoders and their tokenizer, for tests."""

import json
from typing import Any

import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors

from bigtrain.models.base import materialise
from bigtrain.models.encoder import Encoder
from bigtrain.models.encoder_schema import EncoderArchitecture, EncoderConfig
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.tokenizer import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz.,!"


def wordpiece(words: list[str] | None = None) -> Tokenizer:
    """BERT's tokenizer over these words, or over letters, in BERT's order of special tokens."""
    pieces = words or [*LETTERS, *(f"##{letter}" for letter in LETTERS[:26])]
    vocab = {token: id_ for id_, token in enumerate([*SPECIAL, *pieces])}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return Tokenizer(json.loads(backend.to_str()), {**names, "mask_token": "[MASK]"})


def encoder(architecture: str, output: Output = LANGUAGE, seed: int = 3, **fields: Any) -> Encoder:
    """Random weights, larger than at the start of training, so that every part has a say; norms and biases too."""
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 20, "vocab_size": 64, **fields}
    config = EncoderConfig(architecture=EncoderArchitecture(architecture), **sizes).resolved(60, 0)
    model = Encoder.on_meta(config, output)
    materialise(model, torch.device("cpu"), seed)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * seed + number))
            parameter.add_(noise, alpha=0.1)
    return model
