"""Names of tensors in Hugging Face files of encoders, and what their files hold besides."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from bigtrain.models.encoder_schema import EncoderArchitecture, EncoderConfig
from bigtrain.models.names import Entry
from bigtrain.models.output import Output, OutputKind

_EMBEDDINGS = {
    "embedding": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
}
_BACKBONE = {  # a weight and a bias each
    "embedding_norm": "embeddings.LayerNorm",
    "blocks.{}.attention.q": "encoder.layer.{}.attention.self.query",
    "blocks.{}.attention.k": "encoder.layer.{}.attention.self.key",
    "blocks.{}.attention.v": "encoder.layer.{}.attention.self.value",
    "blocks.{}.attention.o": "encoder.layer.{}.attention.output.dense",
    "blocks.{}.attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "blocks.{}.mlp.up": "encoder.layer.{}.intermediate.dense",
    "blocks.{}.mlp.down": "encoder.layer.{}.output.dense",
    "blocks.{}.mlp_norm": "encoder.layer.{}.output.LayerNorm",
}
_MASKED = {
    EncoderArchitecture.bert: {
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
    },
    EncoderArchitecture.roberta: {"head.dense": "lm_head.dense", "head.norm": "lm_head.layer_norm"},
}
_MASKED_BIAS = {EncoderArchitecture.bert: "cls.predictions.bias", EncoderArchitecture.roberta: "lm_head.bias"}
_CLASSIFIER = {
    EncoderArchitecture.bert: {"classifier.dense": "bert.pooler.dense", "classifier.out": "classifier"},
    EncoderArchitecture.roberta: {
        "classifier.dense": "classifier.dense",
        "classifier.out": "classifier.out_proj",
    },
}
_NEXT_SENTENCE = {"next_sentence.dense": "bert.pooler.dense", "next_sentence.out": "cls.seq_relationship"}
_HEADS = ("cls.", "lm_head.", "classifier.", "qa_outputs.")  # beside the backbone: never with its prefix
# The table of whole numbers that older versions of transformers saved.
_CONSTANT = re.compile(r"(.*\.)?embeddings\.(position_ids|token_type_ids)")


def _prefix(architecture: EncoderArchitecture) -> str:
    return f"{architecture}."


def _head(architecture: EncoderArchitecture, output: Output) -> dict[str, str]:
    if output.language:
        return _MASKED[architecture] | (_NEXT_SENTENCE if output.next_sentence else {})
    if output.pooled:
        return _CLASSIFIER[architecture]
    return {"classifier.out": "classifier" if output.kind is OutputKind.tags else "qa_outputs"}


def entries(config: EncoderConfig, output: Output) -> list[Entry]:
    """Every tensor of a model's file; the matrix of a masked head is the embedding."""
    architecture, prefix = config.architecture, _prefix(config.architecture)
    table = [Entry(f"{prefix}{theirs}.weight", (f"{ours}.weight",)) for ours, theirs in _EMBEDDINGS.items()]
    pairs = [(ours, prefix + theirs) for ours, theirs in _BACKBONE.items()]
    pairs += list(_head(architecture, output).items())
    for ours, theirs in pairs:
        for n in range(config.n_layers) if "{}" in ours else range(1):
            for kind in ("weight", "bias"):
                table.append(Entry(f"{theirs.format(n)}.{kind}", (f"{ours.format(n)}.{kind}",)))
    if output.language:
        table.append(Entry(_MASKED_BIAS[architecture], ("head.bias",)))
    return table


def full_names(names: Iterable[str], config: EncoderConfig, output: Output) -> dict[str, str]:
    """Full name -> name as the file has it, for all but the constants.

    Files of a bare backbone leave its prefix out; those converted from BERT's first release call the weight and the
    bias of a norm gamma and beta.
    """
    prefix = _prefix(config.architecture)
    names = [name for name in names if not _CONSTANT.fullmatch(name)]
    bare = not any(name.startswith(prefix) for name in names)
    found = {}
    for name in names:
        full = prefix + name if bare and not name.startswith(_HEADS) else name
        full = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", full)
        found[re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", full)] = name
    return found


def new(config: EncoderConfig, output: Output, source: Output, found: Container[str]) -> set[str]:
    """Our parameters that a file of these full names does not give and that are drawn instead.

    Of a head of another kind than the file's: the last layer, and the one before it unless the file has BERT's pooler.
    Of a masked model made from a bare backbone or from another head: its head; and what tells the next sentence, where
    the file's model does not.
    """
    ours = ("head.", "classifier.", *_NEXT_SENTENCE)
    heads = [entry for entry in entries(config, output) if entry.ours[0].startswith(ours)]
    absent = {entry.ours[0] for entry in heads if entry.theirs not in found}
    if output.language:
        head = {entry.ours[0] for entry in heads if entry.ours[0].startswith("head.")}
        drawn = head if head <= absent else set()
        return drawn if source.next_sentence else drawn | (absent - head)
    if output.kind is source.kind:
        return set()
    return absent | {entry.ours[0] for entry in heads if entry.ours[0].startswith("classifier.out.")}


def unused(config: EncoderConfig, output: Output, source: Output, found: Iterable[str]) -> set[str]:
    """Tensors of a file that this model has no use for: other heads, the pooler, BERT's next-sentence prediction."""
    prefix = _prefix(config.architecture)
    spare: tuple[str, ...] = ("cls.", "lm_head.", "roberta.pooler.")
    if output.language:
        spare = ("cls.seq_relationship.", f"{prefix}pooler.", "classifier.")
        if source.kind is OutputKind.span:
            spare = (*spare, "qa_outputs.")
    elif output.kind is not source.kind:
        spare = (*spare, "classifier.", "qa_outputs.")
    if not output.pooled:
        spare = (*spare, f"{prefix}pooler.")
    return {name for name in found if name.startswith(spare)}


def copies(config: EncoderConfig) -> dict[str, str]:
    """Tensors that a file may hold twice, as some versions of transformers wrote them: the copy -> the original."""
    head = "cls.predictions" if config.architecture is EncoderArchitecture.bert else "lm_head"
    embedding = f"{_prefix(config.architecture)}embeddings.word_embeddings.weight"
    return {f"{head}.decoder.weight": embedding, f"{head}.decoder.bias": f"{head}.bias"}
