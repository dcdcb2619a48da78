"""The model card: the README.md of a model folder, in the form that Hugging Face's site reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.models.auto_tokenizer import pitfall
from bigtrain.models.base import Model, n_parameters
from bigtrain.models.output import CLASSES, OutputKind
from bigtrain.models.recurrent_schema import RecurrentArchitecture
from bigtrain.tokenizer import Tokenizer

# What a model is for: the site's name of the task, and the class of transformers that opens it.
_TASKS = {
    OutputKind.label: "text-classification",
    OutputKind.labels: "text-classification",
    OutputKind.score: "text-classification",
    OutputKind.tags: "token-classification",
    OutputKind.span: "question-answering",
}


_KINDS = {
    OutputKind.tokens: "language model",
    OutputKind.label: "classifier of {} labels",
    OutputKind.labels: "multi-label classifier of {} labels",
    OutputKind.score: "model that gives scores",
    OutputKind.tags: "tagger of {} labels",
    OutputKind.span: "model that finds answers",
}
_NOT_NAMES = ("model", "checkpoints", "step-")


@dataclass(frozen=True)
class Training:
    """How a model came to be. Nothing in it depends on the time, the machine or where its files lie."""

    objective: str
    step: int
    tokens: int  # seen in training
    fingerprint: str | dict[str, Any]  # of the training data, or of its parts by name
    metrics: dict[str, float]  # on held-out data
    measured_at: int  # the step they were measured after
    base_model: str | None  # the folder it started from, as it was named
    license: str | None


def model_card(model: Model, tokenizer: Tokenizer, training: Training) -> str:
    """The text of README.md: the same model and training, the same bytes."""
    config, base = model.config, base_name(training.base_model)
    kind = _KINDS[model.output.kind].format(len(model.output.labels))
    sizes = f"{config.n_layers} layers, {config.dim} wide, at most {config.max_seq_len:,} tokens"
    rows = {
        "shape": f"{config.architecture}: {sizes}",
        "parameters": f"{n_parameters(model):,}",
        "vocabulary": f"{config.vocab_size:,} rows",
        "tokenizer": f"{tokenizer.vocab_size:,} entries, sha256 `{tokenizer.hash}`",
        "base model": base or "none: random weights",
        "objective": training.objective,
        "tokens seen": f"{training.tokens:,} in {training.step:,} steps",
        "training data": _fingerprint(training.fingerprint),
        "licence": training.license or "not stated: name it before you publish",
    }
    about = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    metrics = [f"| {name} | {value:.6g} |" for name, value in sorted(training.metrics.items())]
    measured = f"On held-out data, after step {training.measured_at:,}:" if metrics else "Not measured."
    return "\n".join(
        [
            *_front_matter(model, base, training),
            f"# A {config.architecture} {kind}",
            "",
            "Trained with bigtrain.",
            "",
            *_table("about", about),
            "## Metrics",
            "",
            measured,
            "",
            *(_table("metric", metrics) if metrics else []),
            "## Use",
            "",
            *_use(model, tokenizer),
        ]
    )


def _task(model: Model) -> tuple[str, str]:
    kind = model.output.kind
    if kind in _TASKS:
        return _TASKS[kind], f"AutoModel{CLASSES[kind]}"
    return ("text-generation", "AutoModelForCausalLM") if model.causal else ("fill-mask", "AutoModelForMaskedLM")


def base_name(init_from: str | None) -> str | None:
    """The name of a run or a folder without its place: `/home/me/runs/base/checkpoints/step-00000100/model` is base."""
    if init_from is None:
        return None
    parts = [part for part in Path(init_from).absolute().parts if not part.startswith(_NOT_NAMES)]
    return parts[-1]


def _front_matter(model: Model, base: str | None, training: Training) -> list[str]:
    architecture = model.config.architecture
    fields = {
        "license": training.license or "unknown",
        "library_name": "bigtrain" if _is_ours(architecture) else "transformers",
        "pipeline_tag": _task(model)[0],
        "base_model": base,
        "tags": ["bigtrain", architecture],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items() if value is not None]
    return ["---", *lines, "---", ""]


def _fingerprint(value: str | dict[str, Any]) -> str:
    return f"fingerprint `{value if isinstance(value, str) else json.dumps(value, sort_keys=True)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(first: str, lines: list[str]) -> list[str]:
    return [f"| {first} | |", "| --- | --- |", *lines, ""]


def _is_ours(architecture: str) -> bool:
    """Whether transformers does not know it."""
    return architecture in list(RecurrentArchitecture)


def _use(model: Model, tokenizer: Tokenizer) -> list[str]:
    if _is_ours(model.config.architecture):
        verb = "generate checkpoint=. -p TEXT" if model.output.language else "evaluate checkpoint=. data.files=FILE"
        return ["```sh", f"bigtrain {verb}", "```", ""]
    wrong = pitfall(model.config.architecture, tokenizer)
    opener = "PreTrainedTokenizerFast" if wrong else "AutoTokenizer"
    auto = _task(model)[1]
    return [
        "```python",
        f"from transformers import {auto}, {opener}",
        "",
        f'model, tokenizer = {auto}.from_pretrained("."), {opener}.from_pretrained(".")',
        "```",
        "",
        *([f"Not with AutoTokenizer: {wrong}.", ""] if wrong else []),
    ]
