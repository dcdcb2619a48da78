"""A number for each row of text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bigtrain.commands.tasks.base import Measurement, Task, refuse_unread
from bigtrain.commands.tasks.label_report import Scores
from bigtrain.commands.tasks.labelled import MeasuredRows, labelled_task, measured_rows, read_parts
from bigtrain.config import Loaded
from bigtrain.data.tasks.labels import label_scores
from bigtrain.log import log
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.starting import starting_shape
from bigtrain.objectives.regress import Regress

if TYPE_CHECKING:
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig
    from bigtrain.tokenizer import Tokenizer

_FAR = 10.0  # mean and deviation of scores that take many steps to get to


def regress_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model with a head that gives one number."""
    config: FinetuneConfig = loaded.config
    refuse_unread(loaded, ["data.label_separator"], "objective=regress", "a row has one score")
    source, tokenizer = read_folder(folder, resize_vocab=config.model.resize_vocab)
    parts = read_parts(loaded, lambda rows: [()] * len(rows))
    training, checked = parts
    targets = label_scores(training, config.data.label_field)
    if not np.ptp(targets):
        log.warning("all %d training rows have the score %g: there is nothing to learn", len(targets), targets[0])
    if max(abs(targets.mean()), targets.std()) > _FAR:
        said = "the scores have the mean %.4g and the deviation %.4g; the head begins near 0 and moves by about "
        said += "optimizer.lr a step: scores of about -1 to 1 are learned sooner"
        log.warning(said, targets.mean(), targets.std())
    wanted = label_scores(checked, config.data.label_field) if checked else None
    shape = starting_shape(source.config, tokenizer, config.model)
    model = on_meta(shape, Output(OutputKind.score))
    objective = Regress(varied=wanted is not None and bool(np.ptp(wanted) > 0))
    sections = Scores([checked] if checked else []).sections
    return labelled_task(loaded, placement, folder, tokenizer, model, objective, parts, (targets, wanted), sections)


def regress_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """The rows of files, whose labels are numbers."""
    config: EvaluateConfig = loaded.config
    refuse_unread(loaded, ["data.label_separator"], f"checkpoint= of {source.output}", "a row has one score")
    files = measured_rows(loaded, source)
    targets = np.concatenate([label_scores(rows, config.data.label_field) for rows in files])
    measured, report = MeasuredRows(config, source, tokenizer, files, targets), Scores(files)
    objective = Regress(varied=bool(np.ptp(targets) > 0))
    return Measurement(objective, measured.batches, measured.size, report.predictions, report.sections)
