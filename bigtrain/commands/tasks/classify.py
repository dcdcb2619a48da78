"""Labels of rows of text: one, or any number of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigtrain.commands.tasks.base import Measurement, Task
from bigtrain.commands.tasks.label_report import OneLabel, SeveralLabels, Sums
from bigtrain.commands.tasks.labelled import MeasuredRows, labelled_task, measured_rows, read_parts
from bigtrain.commands.tasks.rows import given_labels, head_labels
from bigtrain.config import Loaded
from bigtrain.data.tasks.labels import Names, label_flags, label_names, label_numbers, several_labels, sorted_labels
from bigtrain.data.tasks.rows import Rows
from bigtrain.metrics.multi_label import DEFAULT_THRESHOLD
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.starting import starting_shape
from bigtrain.objectives.classify import Classify, MultiLabel, balanced_positives, balanced_weights
from bigtrain.objectives.schema import ClassWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.models.base import Model
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig
    from bigtrain.tokenizer import Tokenizer


def classify_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model with a head for the labels of the training rows."""
    config: FinetuneConfig = loaded.config
    source, tokenizer = read_folder(folder, resize_vocab=config.model.resize_vocab)
    parts = read_parts(loaded, lambda rows: _names(config, source, rows))
    several = _several(config, source, parts[0])
    data = config.data
    names = [
        label_names(part, data.label_field, several=several, separator=data.label_separator) if part else []
        for part in parts
    ]
    kind = OutputKind.labels if several else OutputKind.label
    labels = head_labels(config, source, kind, sorted_labels([*names[0], *([] if data.validation else names[1])]))
    number = label_flags if several else label_numbers
    with given_labels(config, source, labels):
        found = [number(part, given, labels) if part else None for part, given in zip(parts, names, strict=True)]
    training, checked = found
    assert training is not None
    shape = starting_shape(source.config, tokenizer, config.model)
    thresholds = source.output.thresholds if (source.output.kind, source.output.labels) == (kind, labels) else ()
    model = on_meta(shape, Output(kind, labels, thresholds))
    objective = (_multi_label if several else _single)(config, model, training, checked)

    def report() -> OneLabel | SeveralLabels:
        files = [parts[1]] if parts[1] else []
        return SeveralLabels(labels, np.array(model.output.thresholds), files) if several else OneLabel(labels, files)

    def sections(sums: Sums) -> list[str]:
        return report().sections(sums)

    task = labelled_task(loaded, placement, folder, tokenizer, model, objective, parts, (training, checked), sections)
    task.new_head, task.tables = config.objective.new_head, lambda sums: report().tables(sums)
    return task


def _several(config: FinetuneConfig, source: ModelFolder, rows: Rows) -> bool:
    """Whether rows may have any number of labels."""
    asked = config.objective.multi_label or config.data.label_separator is not None
    goes_on = source.output.kind is OutputKind.labels and not config.objective.new_head
    return asked or several_labels(rows) or goes_on


def _names(config: FinetuneConfig, source: ModelFolder, rows: Rows) -> Names:
    data = config.data
    several = _several(config, source, rows)
    return label_names(rows, data.label_field, several=several, separator=data.label_separator)


def _single(config: FinetuneConfig, model: Model, training: NDArray[Any], checked: NDArray[Any] | None) -> Classify:
    n_labels, wanted = model.output.size, config.objective
    weights = balanced_weights(training, n_labels) if wanted.class_weights is ClassWeights.balanced else None
    complete = checked is not None and len(np.unique(checked)) == n_labels
    return Classify(weights, wanted.label_smoothing, every_label=complete)


def _multi_label(
    config: FinetuneConfig, model: Model, training: NDArray[Any], checked: NDArray[Any] | None
) -> MultiLabel:
    def tuned(thresholds: tuple[float, ...]) -> None:
        model.output = dataclasses.replace(model.output, thresholds=thresholds)  # goes into the next checkpoint

    wanted = config.objective
    weights = balanced_positives(training) if wanted.class_weights is ClassWeights.balanced else None
    complete = checked is not None and _mixed(checked)
    return MultiLabel(None, weights, wanted.label_smoothing, every_label=complete, tuned=tuned)


def _mixed(flags: NDArray[Any]) -> bool:
    """Whether every label has rows with it and rows without it."""
    return bool((flags.any(0) & ~flags.all(0)).all())


def classify_measurement(
    loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement
) -> Measurement:
    """The rows of files, whose labels must be among those of the checkpoint."""
    config: EvaluateConfig = loaded.config
    data, labels, several = config.data, source.output.labels, source.output.kind is OutputKind.labels
    files = measured_rows(loaded, source)
    names = [label_names(rows, data.label_field, several=several, separator=data.label_separator) for rows in files]
    number = label_flags if several else label_numbers
    found = np.concatenate([number(rows, given, labels) for rows, given in zip(files, names, strict=True)])
    measured = MeasuredRows(config, source, tokenizer, files, found)
    if several:
        thresholds = source.output.thresholds or (DEFAULT_THRESHOLD,) * len(labels)
        report: OneLabel | SeveralLabels = SeveralLabels(labels, np.array(thresholds), files)
        objective: Classify | MultiLabel = MultiLabel(thresholds, every_label=_mixed(found))
    else:
        report, objective = OneLabel(labels, files), Classify(every_label=len(np.unique(found)) == len(labels))
    told = (report.predictions, report.sections, report.tables)
    return Measurement(objective, measured.batches, measured.size, *told, labels=source.output.labels)
