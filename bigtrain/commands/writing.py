"""What `bigtrain generate` does with a prompt, by its config: text, several texts, a beam search, or a comparison."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bigtrain.errors import UserError
from bigtrain.generation import beams, choices, filling
from bigtrain.generation.generate import Completion, Request, Writing, write
from bigtrain.generation.packing import narrowed, pack
from bigtrain.generation.sampling import Sampling
from bigtrain.models.base import Model
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, materialise_from
from bigtrain.models.huggingface_generation import ending_ids
from bigtrain.parallel.memory import out_of_memory_is_an_error
from bigtrain.parallel.schema import Precision
from bigtrain.schema import GenerateConfig
from bigtrain.storage import sha256
from bigtrain.tokenizer import Tokenizer

Prompt = tuple[int, str, list[int]]  # its number, its text and its ids
_FILLINGS = 5  # of a mask, unless top_k= says how many
_ENDS = 1 << 20  # bytes at both ends of a file of weights that tell it from another


def result_fields(config: GenerateConfig, *, masked: bool) -> tuple[str, ...]:
    """The fields of a result; `masked`: of a masked model."""
    if masked:
        return ("fillings",)
    if config.choices:
        return ("choices", "choice", "choice_per_token")
    if config.n > 1:
        return ("completions",)
    return ("completion", "tokens", "stopped_by", *(("token_ids", "logprobs") if config.logprobs else ()))


def product_type(config: GenerateConfig) -> torch.dtype:
    """What matrices are multiplied in."""
    return torch.bfloat16 if config.device.precision is Precision.bf16 else torch.float32


class Writer:
    """A model with the settings of a command. The model is loaded when it is first needed."""

    def __init__(self, config: GenerateConfig, source: ModelFolder, tokenizer: Tokenizer, device: torch.device) -> None:
        self.config, self.source, self.tokenizer, self.device = config, source, tokenizer, device
        self.eos_ids = set(ending_ids(source.folder))
        self.n_rows = self.n_tokens = 0  # so far

    @functools.cached_property
    def model(self) -> Model:
        """The model, packed to generate."""
        config = self.config
        dtype = product_type(config)
        one_text = config.batch_size == 1 or (config.prompts is None and config.n == 1)
        one_row = one_text and config.beams == 1 and not config.choices
        model = narrowed(on_meta(self.source.config, self.source.output), dtype)
        with out_of_memory_is_an_error(0):
            return pack(materialise_from(self.source.folder, model, self.device, seed=0), dtype, one_row=one_row)

    def results(
        self, prompts: Sequence[Prompt], *, on_text: Callable[[str], None] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number and the result of each prompt, as they are done. on_text: is told the text as it comes.

        Raises UserError that names the checkpoint.
        """
        at_once = min(self.config.batch_size, len(prompts) * self.config.n)
        try:
            with out_of_memory_is_an_error(at_once, "batch_size"):
                yield from self._results(prompts, on_text)
        except UserError as error:
            raise UserError(f"{self.source.folder}: {error.given}", error.rule, error.remedy) from None

    def _results(
        self, prompts: Sequence[Prompt], on_text: Callable[[str], None] | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        if isinstance(self.source.config, EncoderConfig):
            yield from self._filled(prompts)
            return
        if self.config.choices or self.config.beams > 1:
            one = self._compared if self.config.choices else self._searched
            for number, text, ids in prompts:
                result = one(text, ids)
                self.n_rows += 1
                yield number, result
            return
        config = self.config
        requests = [Request(ids, number, copy) for number, _, ids in prompts for copy in range(config.n)]
        parts: dict[int, dict[int, Completion]] = {}
        tell = (lambda _, text: on_text(text)) if on_text else None
        for request, completion in write(self.model, requests, self.tokenizer, self._writing(), on_text=tell):
            copies = parts.setdefault(request.number, {})
            copies[request.copy] = completion
            self.n_tokens += len(completion.tokens)
            if len(copies) == config.n:
                self.n_rows += 1
                del parts[request.number]
                yield request.number, self._result([copies[copy] for copy in range(config.n)])

    def _writing(self) -> Writing:
        config = self.config
        sampling = Sampling(**{field.name: getattr(config, field.name) for field in dataclasses.fields(Sampling)})
        return Writing(
            config.max_new_tokens, sampling, config.seed, config.stop, config.logprobs, config.batch_size, self.eos_ids
        )

    def _filled(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, dict[str, Any]]]:
        config, ids = self.config, [ids for *_, ids in prompts]
        k = config.top_k or _FILLINGS
        for place, masks in filling.fill(self.model, ids, self.tokenizer, k=k, batch_size=config.batch_size):
            self.n_rows += 1
            self.n_tokens += len(masks)
            yield prompts[place][0], {"fillings": [[dataclasses.asdict(one) for one in mask] for mask in masks]}

    def _searched(self, text: str, ids: list[int]) -> dict[str, Any]:
        config = self.config
        found = beams.search(
            self.model,
            ids,
            self.tokenizer,
            beams=config.beams,
            n=config.n,
            max_new_tokens=config.max_new_tokens,
            logprobs=config.logprobs,
            eos_ids=self.eos_ids,
            stop=config.stop,
            sampling=self._writing().sampling,
        )
        self.n_tokens += sum(len(completion.tokens) for completion in found)
        return self._result(found)

    def _compared(self, text: str, ids: list[int]) -> dict[str, Any]:
        given = [(choice, choices.following(self.tokenizer, text, ids, choice)) for choice in self.config.choices]
        scored = choices.score(
            self.model, ids, given, vocab_size=self.tokenizer.vocab_size, batch_size=self.config.batch_size
        )
        self.n_tokens += sum(choice.tokens for choice in scored)
        return {
            "choices": [dataclasses.asdict(choice) for choice in scored],
            "choice": max(scored, key=lambda choice: choice.logprob).text,
            "choice_per_token": max(scored, key=lambda choice: choice.logprob_per_token).text,
        }

    def _result(self, completions: list[Completion]) -> dict[str, Any]:
        """The fields of one completion, or the list of several."""
        parts = []
        for completion in completions:
            part: dict[str, Any] = {"completion": completion.text, "tokens": len(completion.tokens)}
            part["stopped_by"] = completion.stopped_by.value
            if completion.logprobs is not None:
                part |= {"token_ids": completion.tokens, "logprobs": completion.logprobs}
            parts.append(part)
        return parts[0] if self.config.n == 1 else {"completions": parts}

    def settings(self) -> dict[str, Any]:
        """All that the results depend on, but for rounding: files by their content."""
        config = self.config
        free = {"prompt", "output", "batch_size", "device", "parallel"}
        given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        assert config.prompts is not None
        return {name: value for name, value in given.items() if name not in free} | {
            "checkpoint": _fingerprint(self.source.folder),
            "prompts": sha256(Path(config.prompts)),
            "device.precision": config.device.precision.value,
        }


def _fingerprint(folder: Path) -> str:
    """Tells a model from another one: its small files, and size and both ends of its large ones."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json", ".jinja") and path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            with open(path, "rb") as file:
                digest.update(file.read(_ENDS))
                file.seek(max(_ENDS, size - _ENDS))
                digest.update(file.read())
    return digest.hexdigest()
