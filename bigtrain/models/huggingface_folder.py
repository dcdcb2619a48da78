"""What a model folder holds besides its weights, and whether its parts are of one model."""

from __future__ import annotations

from pathlib import Path

from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.models.adapter_folder import is_adapter, read_adapter, tokenizer_folder
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.huggingface_config import ModelFolder, read_config
from bigtrain.models.huggingface_generation import ending_ids
from bigtrain.models.schema import padded
from bigtrain.models.weight_files import count_layers
from bigtrain.tokenizer import Tokenizer

_RESTORE = "restore the tokenizer that the model was trained with"
_COVERED = 0.9  # of the rows, by the tokenizers of published models; a model made here may have more for later tokens


def read_folder(folder: Path, *, resize_vocab: bool = False) -> tuple[ModelFolder, Tokenizer]:
    """What a folder holds besides its weights. Raises UserError, also where its parts are not of one model.

    resize_vocab: the embedding will be made to fit, so a tokenizer with more entries than rows will do.
    """
    source, tokenizer = read_config(folder), Tokenizer.load(tokenizer_folder(folder))
    _check_layers(source)
    assert source.config.vocab_size is not None
    if tokenizer.vocab_size > source.config.vocab_size and not resize_vocab:
        raise UserError(
            f"{folder}: a tokenizer of {tokenizer.vocab_size} entries, an embedding of {source.config.vocab_size} rows",
            "the model needs a row for every token",
            f"{_RESTORE}; or, if tokens were added to it, train with model.resize_vocab=true first",
        )
    (_check_marks if isinstance(source.config, EncoderConfig) else _check_ends)(source, tokenizer)
    if source.config.vocab_size > max(padded(tokenizer.vocab_size), tokenizer.vocab_size / _COVERED):
        log.warning(
            "%s: a tokenizer of %d entries, an embedding of %d rows: is it the tokenizer of another model?",
            folder,
            tokenizer.vocab_size,
            source.config.vocab_size,
        )
    return source, tokenizer


def _check_layers(source: ModelFolder) -> None:
    """Raises UserError for a config.json of more layers than the files hold, before any of them is built."""
    place = read_adapter(source.folder).base if is_adapter(source.folder) else source.folder
    if (found := count_layers(place)) < source.config.n_layers:
        raise UserError(
            f"{source.folder}: {source.config.n_layers} layers by config.json, {found} in the files",
            "the tensors of the files are those of its config.json",
            "restore the folder's config.json and weights; both must come from the same model",
        )


def _check_ends(source: ModelFolder, tokenizer: Tokenizer) -> None:
    """Raises UserError where config.json and generation_config.json end a text with other tokens than the tokenizer."""
    ends = ending_ids(source.folder)
    beyond = [id_ for id_ in source.eos_ids if id_ >= tokenizer.vocab_size]
    if beyond or (ends and tokenizer.eos_id is not None and tokenizer.eos_id not in ends):
        told = " or ".join(map(str, beyond[:1] or ends))
        own = f"of {tokenizer.vocab_size} entries" if beyond else f"that ends it with {tokenizer.eos_id}"
        raise UserError(
            f"{source.folder}: a tokenizer {own}, and config.json ends a text with token {told}",
            "tokenizer and weights belong together: this is the tokenizer of another model",
            f"{_RESTORE}; if this is the one, name its end as eos_token_id in config.json",
        )


def _check_marks(source: ModelFolder, tokenizer: Tokenizer) -> None:
    """The same for the tokens that an encoder is told apart by. Published ones name ends of a text that they have not.

    What decoders name besides their ends is often wrong: DeepSeek's distilled models begin with another token.
    """
    for mark, id_ in source.marks.items():
        own = tokenizer.roles.get(mark)
        if own not in (None, id_):
            raise UserError(
                f"{source.folder}: config.json has token {id_} as {mark}, the tokenizer token {own}",
                "tokenizer and weights belong together: this is the tokenizer of another model",
                f"{_RESTORE}; if this is the one, correct {mark}_id in config.json",
            )
