"""`bigtrain evaluate`: a checkpoint and data -> metrics, a report, and gates that decide about the exit code."""

from __future__ import annotations

import dataclasses
import glob
import time
from pathlib import Path
from typing import Any

from bigtrain import environment
from bigtrain.commands.masked import frame_of, measured
from bigtrain.commands.task import refuse_raw_settings, refuse_unread
from bigtrain.commands.text import token_bytes
from bigtrain.config import Loaded, to_yaml
from bigtrain.data.pipeline import prepared
from bigtrain.data.schema import AutoTokenizerConfig, SplitBy
from bigtrain.data.split import PARTS
from bigtrain.data.tasks.labelled import LabelledRows
from bigtrain.data.tasks.rows import read_rows
from bigtrain.errors import GateMissed, UserError
from bigtrain.evaluation import gates
from bigtrain.evaluation.evaluator import Batches, evaluate
from bigtrain.evaluation.report import write_report
from bigtrain.evaluation.windows import Windows
from bigtrain.models.base import n_parameters
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, load_model, read_folder
from bigtrain.objectives.base import Objective
from bigtrain.objectives.causal import Causal
from bigtrain.objectives.classify import Classify
from bigtrain.parallel.apply import apply
from bigtrain.parallel.placement import Placement, lost_peers_are_an_error
from bigtrain.schema import EvaluateConfig
from bigtrain.storage import disk_full_is_an_error, write_json
from bigtrain.tokenizer import Tokenizer
from bigtrain.training.checkpoint import resolve

TOKENS_AT_ONCE = 8192  # of a batch, where its rows are not given: 1.6 GB of logits with a vocabulary of 50,000


@dataclasses.dataclass
class Measurement:
    """What is computed, and how much of it there is: `{"tokens": n}` or `{"rows": n}`."""

    objective: Objective
    batches: Batches
    size: dict[str, int]


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Metrics, flat, with the gates that were missed under `missed` (with `dry_run`: what measuring would take)."""
    config: EvaluateConfig = loaded.config
    if config.data.sets:
        name = next(iter(config.data.sets))
        raise UserError(f"data.sets.{name} with evaluate", "one set is measured at a time", "give data.path=DIR")
    placement = Placement.start(config.device)
    source, tokenizer = read_folder(resolve(Path(config.checkpoint)))
    if source.labels:
        measurement = _labelled_rows(loaded, source, tokenizer)
    else:
        measurement = _text(loaded, source, tokenizer, placement)
    bounds = gates.parse(config.gates, measurement.objective.metric_names)
    if dry_run:
        return _needs(source, measurement)
    if config.output and placement.leads:
        _make_folder(Path(config.output))
    model = load_model(source.folder, device=placement.device)
    apply(model, compile=config.device.compile)
    began = time.perf_counter()
    with lost_peers_are_an_error(placement):
        metrics = evaluate(model, measurement.objective, measurement.batches, placement)
    assert metrics is not None  # nobody asks it to stop
    result: dict[str, Any] = {**metrics, **measurement.size, "seconds": round(time.perf_counter() - began, 3)}
    result |= {"checkpoint": str(source.folder), "device": str(placement.device)}
    if bounds:
        result["missed"] = [missed for bound in bounds if (missed := bound.missed(metrics))]
    if config.output and placement.leads:
        _write(Path(config.output), loaded, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print a result for people."""
    width = max(map(len, result))
    for name, value in result.items():
        if name != "missed":
            print(f"{name:<{width}}  {f'{value:.6g}' if isinstance(value, float) else value}")


def verdict(result: dict[str, Any]) -> None:
    """To be called once the result is out. Raises GateMissed where it missed a gate."""
    if result.get("missed"):
        raise GateMissed("missed " + "; ".join(result["missed"]))


def _text(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """Windows over raw files as a whole, or over a part of a prepared set."""
    config: EvaluateConfig = loaded.config
    kind = "checkpoint= of a language model"
    refuse_unread(loaded, ["data.label_field", "data.pair_field"], kind, "it has no labels")
    data, part = config.data, config.data.split
    if part not in PARTS:
        raise UserError(f"data.split={part}", f"a prepared set has the parts {', '.join(PARTS)}", "name one of them")
    refuse_raw_settings(loaded)
    if data.files or data.sources:
        keys = [f"data.{name}" for name in ("split", "validation_fraction", "test_fraction", "split_by", "group_field")]
        refuse_unread(loaded, keys, "raw text", "all of it is measured")
        data = dataclasses.replace(data, validation_fraction=0.0, test_fraction=0.0, split_by=SplitBy.document)
        part = "train"
    found = placement.lead_first(lambda: prepared(data, AutoTokenizerConfig(), tokenizer))
    split = found.split(part)
    if len(split) < 2:
        where = data.path or data.builtin or ", ".join([*data.files, *data.sources])
        raise UserError(
            f"the {part} part (data.split={part}) of {where}: {len(split)} tokens",
            "one token predicts the next",
            "name more text, or another part",
        )
    tokens = split.tokens if config.evals.max_tokens is None else split.tokens[: config.evals.max_tokens + 1]
    seq_len = _seq_len(config, source)
    rows = config.evals.batch_rows or max(1, TOKENS_AT_ONCE // seq_len)
    if isinstance(source.config, EncoderConfig):
        refuse_unread(loaded, ["evals.stride"], "checkpoint= of an encoder", "its windows do not overlap")
        asked = split.tokens[: config.evals.max_tokens]
        masked, hidden = measured(source.config, tokenizer, asked, config.evals, seq_len, rows)
        return Measurement(masked, hidden, {"tokens": len(asked)})
    windows = Windows(tokens, seq_len, config.evals.stride or max(1, seq_len // 2), rows)
    objective = Causal(token_bytes=token_bytes(found.tokenizer(), [split]))
    return Measurement(objective, windows, {"tokens": len(tokens) - 1})


def _labelled_rows(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer) -> Measurement:
    """The rows of csv, tsv or jsonl files, whose labels must be among those of the checkpoint."""
    config: EvaluateConfig = loaded.config
    kind = "checkpoint= of a classifier"
    keys = ["data.path", "data.builtin", "data.split", "data.validation_fraction", "data.split_by", "evals.stride"]
    refuse_unread(loaded, keys, kind, "it is measured on the rows of data.files=[FILE,...]")
    files = [Path(path) for given in config.data.files for path in sorted(glob.glob(given)) or [given]]  # noqa: PTH207
    texts: list[str] = []
    labels: list[int] = []
    for path in files:
        read = read_rows(path, config.data.text_field, config.data.label_field, config.data.pair_field)
        texts += read.texts
        labels += read.numbers(source.labels)
    most = config.evals.max_tokens
    seq_len = _seq_len(config, source)
    labelled = LabelledRows(
        texts[:most],
        labels[:most],
        tokenizer,
        seq_len,
        frame=frame_of(source.config, tokenizer, f"evals.seq_len={seq_len}", seq_len),
        few_lengths=config.device.compile,
    )
    rows = config.evals.batch_rows or max(1, TOKENS_AT_ONCE // max(len(ids) for ids in labelled.ids))
    return Measurement(Classify(len(source.labels)), labelled.batches(rows), {"rows": len(labelled)})


def _seq_len(config: EvaluateConfig, source: ModelFolder) -> int:
    longest = source.config.max_seq_len
    if config.evals.seq_len is not None and config.evals.seq_len > longest:
        given = f"evals.seq_len={config.evals.seq_len} with a model of max_seq_len={longest}"
        raise UserError(given, "a window is as long as the model is made for at most", f"choose {longest} or less")
    return config.evals.seq_len or longest


def _needs(source: ModelFolder, measurement: Measurement) -> dict[str, Any]:
    """Forward only: a third of what a training step computes."""
    model = on_meta(source.config, n_labels=len(source.labels))
    batch = measurement.batches[0]["tokens"]
    flops = model.flops_per_token(batch.shape[1]) / 3
    computed = len(measurement.batches) * batch.numel()
    return {"parameters": n_parameters(model), **measurement.size, "flops_per_token": flops, "flops": flops * computed}


def _make_folder(path: Path) -> None:
    try:
        with disk_full_is_an_error(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output={path}", f"it must be a folder: {error.strerror}", "choose another output=DIR"
        ) from None


def _write(folder: Path, loaded: Loaded, result: dict[str, Any]) -> None:
    write_json(folder / "metrics.json", result)
    write_report(
        folder / "report.html",
        title=f"Evaluation of {Path(loaded.config.checkpoint).name}",
        config_yaml=to_yaml(loaded),
        environment=environment.describe(),
        metrics=[],
        samples=[],
        result=result,
    )
