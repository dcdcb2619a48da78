"""`bigtrain evaluate`: a checkpoint and data -> metrics, a report, and gates that decide about the exit code."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bigtrain import environment
from bigtrain.commands.shown import number
from bigtrain.commands.tasks.base import Measurement, refuse_unread
from bigtrain.commands.tasks.classify import classify_measurement
from bigtrain.commands.tasks.masked import masked_measurement
from bigtrain.commands.tasks.preference import preference_measurement
from bigtrain.commands.tasks.regress import regress_measurement
from bigtrain.commands.tasks.run_settings import as_in_run
from bigtrain.commands.tasks.sft import sft_measurement
from bigtrain.commands.tasks.span import span_measurement
from bigtrain.commands.tasks.tag import tag_measurement
from bigtrain.commands.tasks.text import text_measurement
from bigtrain.commands.unread import refuse_unread_of_device
from bigtrain.config import Loaded, to_yaml
from bigtrain.data.pipeline import kept_nowhere
from bigtrain.data.tasks.forms_schema import MeasuredFormsConfig
from bigtrain.errors import GateMissed, UserError
from bigtrain.evaluation import gates
from bigtrain.evaluation.evaluator import totals
from bigtrain.evaluation.report import write_report
from bigtrain.evaluation.schema import EvalsConfig
from bigtrain.evaluation.task_report import write_predictions
from bigtrain.models.base import n_parameters
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, load_model, read_folder
from bigtrain.models.output import OutputKind
from bigtrain.parallel.apply import apply
from bigtrain.parallel.memory import out_of_memory_is_an_error
from bigtrain.parallel.placement import Placement, lost_peers_are_an_error
from bigtrain.runs import is_run
from bigtrain.schema import EvaluateConfig
from bigtrain.storage import disk_full_is_an_error, write_json
from bigtrain.tokenizer import Tokenizer
from bigtrain.training.checkpoint import resolve

_TAGS, _REWARDS = (
    "words with tags are those of a tagger",
    "rewards are those of pairs of answers, with evals=preference",
)
_CHATS = "conversations are read with evals=answers or evals=preference"
# Keys that only some kinds of measurement read, and why the others do not.
_OF_SOME_KINDS = {
    "evals.stride": ([text_measurement], "windows of a decoder's text move on by a stride; others do not overlap"),
    "evals.alone_tokens": ([masked_measurement], "tokens of a masked model's text are hidden; nothing is here"),
    "evals.overlap": (
        [span_measurement],
        "contexts of questions are read in windows that share tokens; nothing is here",
    ),
    "evals.max_answer_tokens": ([span_measurement], "an answer is looked for in a question's context; none is here"),
    "data.words_field": ([tag_measurement], _TAGS),
    "data.tags_field": ([tag_measurement], _TAGS),
    "evals.reference": ([preference_measurement], _REWARDS),
    "evals.beta": ([preference_measurement], _REWARDS),
    "evals.max_new_tokens": ([sft_measurement], "answers are written to conversations, with evals=answers"),
    **{
        f"data.{field.name}": ([sft_measurement, preference_measurement], _CHATS)
        for field in fields(MeasuredFormsConfig)
    },
}


_FILES = ("metrics.json", "predictions.jsonl", "report.html")


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Metrics, flat, with the gates that were missed under `missed` (with `dry_run`: what measuring would take)."""
    with kept_nowhere() if dry_run else contextlib.nullcontext():
        return _run(loaded, dry_run=dry_run)


def _run(loaded: Loaded, *, dry_run: bool) -> dict[str, Any]:
    config: EvaluateConfig = loaded.config
    if config.data.sets:
        name = next(iter(config.data.sets))
        raise UserError(f"data.sets.{name} with evaluate", "one set is measured at a time", "give data.path=DIR")
    refuse_unread_of_device(loaded)
    placement = Placement.start(config.device, config.parallel.threads)
    source, tokenizer = read_folder(resolve(Path(config.checkpoint)))
    loaded = as_in_run(loaded, source)
    config = loaded.config
    measure = _measurement(source, config.evals)
    for key, (readers, rule) in _OF_SOME_KINDS.items():
        if measure not in readers:
            asked = [f"evals.{name}=true" for name in ("answers", "pairs") if getattr(config.evals, name)]
            refuse_unread(loaded, [key], (asked or [f"checkpoint= of {source.output}"])[0], rule)
    measurement = measure(loaded, source, tokenizer, placement)
    bounds = gates.parse(config.gates, measurement.objective.metric_names, measurement.labels)
    if dry_run:
        return _needs(source, measurement)
    if measurement.before:
        measurement.before()
    if config.output and placement.leads:
        _make_folder(Path(config.output))
    with out_of_memory_is_an_error(0):
        model = load_model(source.folder, device=placement.device)
    apply(model, compile=config.device.compile)
    began = time.perf_counter()
    at_once = len(next(iter(measurement.batches[0].values())))
    with lost_peers_are_an_error(placement), out_of_memory_is_an_error(at_once, "evals.batch_rows"):
        sums = totals(model, measurement.objective, measurement.batches, placement)
    assert sums is not None  # nobody asks it to stop
    metrics = measurement.objective.metrics(sums)
    if broken := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise UserError(
            f"checkpoint={config.checkpoint}: {broken[0]} is {metrics[broken[0]]}",
            "a metric is a number: the model's weights hold one that is none, or is too large",
            "restore the weights, or name another checkpoint",
        )
    result: dict[str, Any] = {**metrics, **measurement.size, "seconds": round(time.perf_counter() - began, 3)}
    result |= {"checkpoint": str(source.folder), "device": str(placement.device)}
    if measurement.tables:
        result |= measurement.tables(sums)
        metrics |= gates.scores_of_labels(result["per_class"])
    if bounds:
        result["missed"] = [missed for bound in bounds if (missed := bound.missed(metrics))]
    if config.output and placement.leads:
        _write(Path(config.output), loaded, result, measurement, sums)
    return result


def show(result: dict[str, Any]) -> None:
    """Print a result for people: of each label what is known of it, in a line."""
    labels = result.get("per_class", {})
    width = max(map(len, [*result, *labels]))
    for name, value in result.items():
        if name != "missed" and not isinstance(value, dict):
            print(f"{name:<{width}}  {number(value)}")
    for label, scores in labels.items():
        print(f"{label:<{width}}  " + "  ".join(f"{name} {value:.4g}" for name, value in scores.items()))


def verdict(result: dict[str, Any]) -> None:
    """To be called once the result is out. Raises GateMissed where it missed a gate."""
    if result.get("missed"):
        raise GateMissed("missed " + "; ".join(result["missed"]))


def _measurement(
    source: ModelFolder, evals: EvalsConfig
) -> Callable[[Loaded, ModelFolder, Tokenizer, Placement], Measurement]:
    """What is measured of a model that gives this."""
    if evals.answers:
        return sft_measurement
    if evals.pairs:
        return preference_measurement
    if source.output.language:
        return masked_measurement if isinstance(source.config, EncoderConfig) else text_measurement
    return {
        OutputKind.label: classify_measurement,
        OutputKind.labels: classify_measurement,
        OutputKind.score: regress_measurement,
        OutputKind.tags: tag_measurement,
        OutputKind.span: span_measurement,
    }[source.output.kind]


def _needs(source: ModelFolder, measurement: Measurement) -> dict[str, Any]:
    """Forward only: a third of what a training step computes."""
    model = on_meta(source.config, source.output)
    batch = measurement.batches[0]["tokens"]
    flops = model.flops_per_token(batch.shape[1]) / 3
    computed = len(measurement.batches) * batch.numel() + measurement.written
    return {"parameters": n_parameters(model), **measurement.size, "flops_per_token": flops, "flops": flops * computed}


def _make_folder(path: Path) -> None:
    """The folder of `output=`, whose files may be those of an evaluation before. Raises UserError for others."""
    if is_run(path):
        raise UserError(f"output={path}", "it is a run, whose report would be lost", "choose another output=DIR")
    theirs = [name for name in _FILES if (path / name).exists()]
    if theirs and not _is_result(path / _FILES[0]):
        rule = f"an evaluation would replace what is there: {', '.join(theirs)}"
        raise UserError(f"output={path}", rule, "choose another output=DIR")
    try:
        with disk_full_is_an_error(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output={path}", f"it must be a folder: {error.strerror}", "choose another output=DIR"
        ) from None


def _is_result(path: Path) -> bool:
    """Whether this file is what `_write` has left."""
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(before, dict) and {"checkpoint", "device", "seconds"} <= before.keys()


def _write(
    folder: Path, loaded: Loaded, result: dict[str, Any], measurement: Measurement, sums: dict[str, NDArray[Any]]
) -> None:
    metrics, predictions, report = (folder / name for name in _FILES)
    write_json(metrics, result)
    if measurement.predictions:
        write_predictions(predictions, measurement.predictions(sums))
    write_report(
        report,
        title=f"Evaluation of {Path(loaded.config.checkpoint).name}",
        config_yaml=to_yaml(loaded),
        environment=environment.describe(),
        metrics=[],
        samples=[],
        result=result,
        sections=measurement.sections(sums) if measurement.sections else (),
    )
