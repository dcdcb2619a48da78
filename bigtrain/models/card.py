"""The model card: the README.md of a model folder, in the form that Hugging Face's site reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.models.auto_tokenizer import pitfall
from bigtrain.models.base import Model, n_parameters
from bigtrain.models.recurrent_schema import RecurrentArchitecture
from bigtrain.tokenizer import Tokenizer

# What a model is for, by objective: the site's name of the task, and the class of transformers that opens it.
_TASKS = {
    "causal": ("text-generation", "AutoModelForCausalLM"),
    "masked": ("fill-mask", "AutoModelForMaskedLM"),
    "classify": ("text-classification", "AutoModelForSequenceClassification"),
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


def model_card(model: Model, tokenizer: Tokenizer, labels: list[str], training: Training) -> str:
    """The text of README.md: the same model and training, the same bytes."""
    config, base = model.config, base_name(training.base_model)
    kind = f"classifier of {len(labels)} labels" if labels else "language model"
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
            *_front_matter(config.architecture, base, training),
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
            *_use(model, tokenizer, training.objective),
        ]
    )


def base_name(init_from: str | None) -> str | None:
    """The name of a run or a folder without its place: `/home/me/runs/base/checkpoints/step-00000100/model` is base."""
    if init_from is None:
        return None
    parts = [part for part in Path(init_from).absolute().parts if not part.startswith(_NOT_NAMES)]
    return parts[-1]


def _front_matter(architecture: str, base: str | None, training: Training) -> list[str]:
    task = _TASKS.get(training.objective)
    fields = {
        "license": training.license or "unknown",
        "library_name": "bigtrain" if _is_ours(architecture) else "transformers",
        "pipeline_tag": task and task[0],
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


def _use(model: Model, tokenizer: Tokenizer, objective: str) -> list[str]:
    if _is_ours(model.config.architecture):
        verb = "evaluate checkpoint=. data.files=FILE" if model.n_labels else "generate checkpoint=. -p TEXT"
        return ["```sh", f"bigtrain {verb}", "```", ""]
    wrong = pitfall(model.config.architecture, tokenizer)
    opener = "PreTrainedTokenizerFast" if wrong else "AutoTokenizer"
    auto = _TASKS.get(objective, ("", "AutoModel"))[1]
    return [
        "```python",
        f"from transformers import {auto}, {opener}",
        "",
        f'model, tokenizer = {auto}.from_pretrained("."), {opener}.from_pretrained(".")',
        "```",
        "",
        *([f"Not with AutoTokenizer: {wrong}.", ""] if wrong else []),
    ]
