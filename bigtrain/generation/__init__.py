"""Text from a model: KV cache and sampling."""
