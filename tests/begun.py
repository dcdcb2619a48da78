"""A tokenizer that puts a token before every text, as Llama's does."""

from bigtrain.tokenizer import Tokenizer


def beginning_with(tokenizer: Tokenizer, token: str) -> Tokenizer:
    """The same tokenizer, which puts a token before every text."""
    id_ = tokenizer.backend.token_to_id(token)
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [id_], "tokens": [token]}},
    }
    return Tokenizer({**tokenizer.spec, "post_processor": template}, {**tokenizer.config, "bos_token": token})
