"""`bigtrain generate`: a checkpoint and prompts -> text."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from bigtrain.commands.conversation import converse, opening, printable
from bigtrain.commands.shown import number as in_words
from bigtrain.commands.tasks.masked import require_masked_head
from bigtrain.commands.unread import refuse_unread_of_device
from bigtrain.commands.writing import Prompt, Writer, product_type, result_fields
from bigtrain.config import Loaded
from bigtrain.errors import Stopped, UserError
from bigtrain.generation.chat import Chat
from bigtrain.generation.files import Output, PromptRow, read_prompts
from bigtrain.generation.filling import prompt_encoder
from bigtrain.generation.generate import check_prompt
from bigtrain.generation.packing import narrowed
from bigtrain.log import log
from bigtrain.models.base import n_parameters
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.parallel.placement import Placement
from bigtrain.schema import GenerateConfig
from bigtrain.tokenizer import Tokenizer
from bigtrain.training.checkpoint import resolve

_SAY_EVERY_SECONDS = 30.0


def run(loaded: Loaded, *, dry_run: bool = False, live: bool = False) -> dict[str, Any]:
    """What follows the prompt or prompts, and how fast that came (with `dry_run`: what writing it would take).

    live: print the text of a single prompt as it comes; without a prompt, chat=true holds a conversation.
    """
    config: GenerateConfig = loaded.config
    talk = config.chat and live and sys.stdin.isatty()
    if config.prompt is None and config.prompts is None and not talk:
        raise UserError(
            "no prompt",
            "generate continues a text",
            "give prompt=TEXT, -p TEXT, -p - for standard input, or prompts=FILE.jsonl output=FILE.jsonl",
        )
    if config.device.compile:
        raise UserError(
            "device.compile=true", "text is written token by token, uncompiled", "leave it out: it serves training"
        )
    refuse_unread_of_device(loaded)
    if config.prompts is None and int(os.environ.get("WORLD_SIZE") or 1) > 1:  # before they meet: all leave by this
        raise UserError("several processes and one prompt", "there is nothing to share out", "leave --nproc out")
    placement = Placement.start(config.device, config.parallel.threads)
    folder = resolve(Path(config.checkpoint))
    source, tokenizer = read_folder(folder)
    if not source.output.language:
        raise UserError(
            f"checkpoint={config.checkpoint}",
            f"it is {source.output}, and writes no text",
            "name a language model; `bigtrain evaluate` measures this one",
        )
    masked = isinstance(source.config, EncoderConfig)
    if masked:
        config.check_filling()
        require_masked_head(config.checkpoint, source)
    rows = _rows(config, masked=masked)
    prompts = (_hiding if masked else _encoded)(rows, config, tokenizer, source)
    if dry_run:
        return _needs(source, prompts, config)
    writer = Writer(config, source, tokenizer, placement.device)
    told = {"checkpoint": str(folder), "device": str(placement.device)}
    if config.prompts is not None:
        return _file(config, placement, writer, rows, prompts) | told
    live = live and not (masked or config.choices or config.n > 1 or config.beams > 1)
    try:
        if config.prompt is None:
            return converse(writer, Chat(tokenizer, str(folder)))
        return _one(config, writer, prompts[0], live=live) | told
    except Stopped as stopped:
        what = "the conversation is over, and none of it is kept" if config.prompt is None else "the text ends here"
        raise Stopped(f"{str(stopped).partition(':')[0]}: {what}") from None


def _rows(config: GenerateConfig, *, masked: bool) -> list[PromptRow]:
    if config.prompts is not None:
        return read_prompts(Path(config.prompts), result_fields(config, masked=masked))
    return [] if config.prompt is None else [PromptRow("", {"prompt": config.prompt})]


def _encoded(
    rows: list[PromptRow], config: GenerateConfig, tokenizer: Tokenizer, source: ModelFolder
) -> list[tuple[str, list[int]]]:
    """Text and ids of each row's prompt, all checked before anything is computed."""
    talks = config.chat or any("messages" in row.fields for row in rows)
    chat = Chat(tokenizer, str(source.folder)) if talks else None
    model = on_meta(source.config)
    prompts = []
    for row in rows:
        text, messages = row.fields.get("prompt"), row.fields.get("messages")
        if chat and (config.chat or messages is not None):
            where = row.where or "prompt="
            asked = [*opening(config.system), {"role": "user", "content": text}] if messages is None else messages
            text, ids = "", chat.encode(asked, where)
        else:
            text, ids = str(text), tokenizer.encode_prompt(str(text))
        with _naming(row):
            check_prompt(model, ids)
        prompts.append((text, ids))
    return prompts


def _hiding(
    rows: list[PromptRow], config: GenerateConfig, tokenizer: Tokenizer, source: ModelFolder
) -> list[tuple[str, list[int]]]:
    """The same for texts with masks."""
    encode = prompt_encoder(tokenizer, source.config.max_seq_len)
    prompts = []
    for row in rows:
        with _naming(row):
            if "prompt" not in row.fields:
                raise UserError("messages for a masked model", "it does not chat", 'give a row with a "prompt"')
            prompts.append((row.fields["prompt"], encode(row.fields["prompt"])))
    return prompts


@contextlib.contextmanager
def _naming(row: PromptRow) -> Iterator[None]:
    """Errors name the row."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{row.where}: {error.given}" if row.where else error.given, error.rule, error.remedy) from None


def _one(config: GenerateConfig, writer: Writer, prompt: tuple[str, list[int]], *, live: bool) -> dict[str, Any]:
    """The result of a single prompt."""

    def say(text: str) -> None:
        print(printable(text), end="", flush=True)

    if live:
        say("" if config.chat else str(config.prompt))
    _ = writer.model  # the time of loading is not that of writing
    began = time.perf_counter()
    [(_, result)] = writer.results([(0, *prompt)], on_text=say if live else None)
    seconds = time.perf_counter() - began
    if live:
        print(flush=True)
    n_tokens = writer.n_tokens
    told: dict[str, Any] = {"prompt": config.prompt, "chat": config.chat, **result}
    if "completion" in result:
        told["text"] = ("" if config.chat else str(config.prompt)) + result["completion"]
    told |= {"seconds": round(seconds, 3), "tokens_per_second": round(n_tokens / seconds, 1)}
    return told | ({"printed": True} if live else {})


def _file(
    config: GenerateConfig,
    placement: Placement,
    writer: Writer,
    rows: list[PromptRow],
    prompts: list[tuple[str, list[int]]],
) -> dict[str, Any]:
    """Every row of the file, each process its share of them."""
    assert config.output is not None
    settings, began = writer.settings(), time.monotonic()
    with contextlib.closing(Output(Path(config.output), placement.rank)) as output:
        placement.lead_first(lambda: output.claim(settings, lock=placement.leads))
        # Some have more to write than others: they are waited for as long as it takes.
        patient = dist.new_group(backend="gloo", timeout=timedelta(days=365)) if placement.world_size > 1 else None
        if not placement.from_lead(output.whole()):
            mine = range(placement.rank, len(rows), placement.world_size)
            _share(output, writer, [(number, *prompts[number]) for number in mine])
            if patient:
                dist.barrier(group=patient)
            if placement.leads:
                output.finish(rows)
        elif placement.leads:
            output.remove_parts()
    n_tokens, n_rows = placement.sum(writer.n_tokens, writer.n_rows)
    seconds = time.monotonic() - began
    return {
        "output": str(output.path),
        "rows": len(rows),
        "rows_done_before": len(rows) - int(n_rows),
        "tokens": int(n_tokens),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(n_tokens / seconds, 1),
    }


def _share(output: Output, writer: Writer, prompts: list[Prompt]) -> None:
    """The rows of this process that no run before has done."""
    output.repair()
    before = output.done()
    todo = [prompt for prompt in prompts if prompt[0] not in before]
    if len(todo) < len(prompts):
        log.info("%s: %d of %d rows are done", output.path, len(prompts) - len(todo), len(prompts))
    began = said = time.monotonic()
    for count, (number, result) in enumerate(writer.results(todo), 1):
        output.append(number, result)
        now = time.monotonic()
        if now - said > _SAY_EVERY_SECONDS:
            said = now
            log.info("%d of %d rows, %.0f tokens/s", count, len(todo), writer.n_tokens / (now - began))


def _needs(source: ModelFolder, prompts: list[tuple[str, list[int]]], config: GenerateConfig) -> dict[str, Any]:
    model = narrowed(on_meta(source.config), product_type(config))
    new = config.max_new_tokens if model.causal else 0
    lengths = [min(len(ids) + new, source.config.max_seq_len) for _, ids in prompts]
    n_tokens = config.n * sum(lengths)
    forward = model.flops_per_token(max(lengths, default=1)) / 3  # training computes twice as much again for gradients
    return {
        "parameters": n_parameters(model),
        "prompts": len(prompts),
        "prompt_tokens": sum(len(ids) for _, ids in prompts),
        "max_new_tokens": new,
        "memory_gb": round(sum(p.numel() * p.element_size() for p in model.parameters()) / 1e9, 3),
        "flops": n_tokens * forward,
        "checkpoint": str(source.folder),
    }


def show(result: dict[str, Any]) -> None:
    """Print the prompt and what follows it, nothing else; a table for choices, files and `--dry-run`."""
    if result.get("printed"):
        return
    shown = printable if sys.stdout.isatty() else str
    if "text" in result:
        print(shown(result["text"]))
    elif "completions" in result:
        before = "" if result["chat"] else result["prompt"]
        print("\n\n".join(shown(before + completion["completion"]) for completion in result["completions"]))
    elif "fillings" in result:
        lines = ("\n".join(f"{one['probability']:8.6f}  {one['token']}" for one in mask) for mask in result["fillings"])
        print("\n\n".join(lines))
    elif "choices" in result:
        for choice in result["choices"]:
            print(f"{choice['logprob']:12.4f}  {choice['logprob_per_token']:10.4f}  {choice['text']}")
    else:
        for name, value in result.items():
            print(f"{name:<17}  {in_words(value)}")
