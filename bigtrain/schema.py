"""The root config of each verb, and the table that says which dataclass a group's option fills.

Torch-free, so that the command line can compose, check and lock a run folder before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigtrain.data.schema import (
    AutoTokenizerConfig,
    BPEConfig,
    BytesConfig,
    CharsConfig,
    DataConfig,
    FileTokenizerConfig,
    RowsConfig,
    WordsConfig,
    check_text_field,
)
from bigtrain.evaluation.schema import EvalsConfig
from bigtrain.models.schema import DecoderConfig
from bigtrain.objectives.schema import CausalConfig, ClassifyConfig
from bigtrain.options import REQUIRED, option
from bigtrain.parallel.schema import DeviceConfig, ParallelConfig
from bigtrain.training.schedules import CosineConfig, LinearConfig, WSDConfig
from bigtrain.training.schema import AdamWConfig, MuonConfig, ResumeConfig, RunConfig, SGDConfig, TrainConfig

# Nodes whose dataclass is chosen by the node's own `name:`. Adding a class here, or an entry point, adds a choice.
CHOICES: dict[str, dict[str, type]] = {
    "model": {"decoder": DecoderConfig},
    "tokenizer": {
        "auto": AutoTokenizerConfig,
        "bpe": BPEConfig,
        "words": WordsConfig,
        "bytes": BytesConfig,
        "chars": CharsConfig,
        "file": FileTokenizerConfig,
    },
    "objective": {"causal": CausalConfig, "classify": ClassifyConfig},
    "optimizer": {"adamw": AdamWConfig, "muon": MuonConfig, "sgd": SGDConfig},
    "schedule": {"cosine": CosineConfig, "linear": LinearConfig, "wsd": WSDConfig},
}


@dataclass
class FinetuneDataConfig(DataConfig, RowsConfig):
    """Text (`causal`: files, path or builtin) or labelled rows (`classify`: train and validation)."""

    def check(self) -> None:
        """Which source is needed depends on the objective: `commands/finetune.py` asks for it. Raises UserError."""
        check_text_field(self.text_field)


@dataclass
class PrepareConfig:
    """`bigtrain prepare`: raw files -> token shards and a manifest."""

    data: DataConfig = option(DataConfig, "where the text comes from")
    tokenizer: Any = option(REQUIRED, "how text becomes ids")
    output: str = option(REQUIRED, "folder of the prepared set")


@dataclass
class PretrainConfig:
    """`bigtrain pretrain`: tokens -> a model from random weights, or continued from `init_from`."""

    model: Any = option(REQUIRED, "the model's shape")
    tokenizer: Any = option(REQUIRED, "how text becomes ids")
    data: DataConfig = option(DataConfig, "where the text comes from")
    objective: Any = option(REQUIRED, "what is learned")
    optimizer: Any = option(REQUIRED, "how weights move")
    schedule: Any = option(REQUIRED, "how the learning rate moves")
    train: TrainConfig = option(TrainConfig, "the loop")
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")
    parallel: ParallelConfig = option(ParallelConfig, "several processes")
    run: RunConfig = option(RunConfig, "the run folder")
    resume: ResumeConfig = option(ResumeConfig, "continuing a run")
    init_from: str | None = option(None, "weights to start from: a run, a checkpoint or a Hugging Face folder")
    seed: int = option(1337, "of the initial weights, the data order and dropout", at_least=0)


@dataclass
class FinetuneConfig:
    """`bigtrain finetune`: a checkpoint and task data -> a task model."""

    data: FinetuneDataConfig = option(FinetuneDataConfig, "text or labelled rows")
    objective: Any = option(REQUIRED, "what is learned")
    optimizer: Any = option(REQUIRED, "how weights move")
    schedule: Any = option(REQUIRED, "how the learning rate moves")
    train: TrainConfig = option(TrainConfig, "the loop")
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")
    parallel: ParallelConfig = option(ParallelConfig, "several processes")
    run: RunConfig = option(RunConfig, "the run folder")
    resume: ResumeConfig = option(ResumeConfig, "continuing a run")
    init_from: str = option(REQUIRED, "the model to start from: a run, a checkpoint or a Hugging Face folder")
    seed: int = option(1337, "of the new head, the data order and dropout", at_least=0)


@dataclass
class EvaluateDataConfig(DataConfig):
    """Text, or labelled rows for a classifier."""

    label_field: str = option("label", "column or field with the label (classifiers)")
    pair_field: str | None = option(None, "column or field with a second text (classifiers)")
    split: str = option("validation", "which part of a prepared set is measured: train or validation")


@dataclass
class EvaluateConfig:
    """`bigtrain evaluate`: a checkpoint and data -> metrics and gates."""

    checkpoint: str = option(REQUIRED, "a run, a checkpoint or a Hugging Face folder")
    data: EvaluateDataConfig = option(EvaluateDataConfig, "what it is measured on")
    evals: EvalsConfig = option(EvalsConfig, "how it is measured")
    gates: dict[str, str] = option(dict, "METRIC: '>=0.9' and the like; a missed gate ends with exit code 3")
    output: str | None = option(None, "folder for metrics.json and report.html; null: only standard output")
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")


@dataclass
class GenerateConfig:
    """`bigtrain generate`: a checkpoint and a prompt -> text."""

    checkpoint: str = option(REQUIRED, "a run, a checkpoint or a Hugging Face folder")
    prompt: str | None = option(None, "the text to continue; -p TEXT, or -p - for standard input", may_be_empty=True)
    max_new_tokens: int = option(128, "tokens to write at most", at_least=1)
    temperature: float = option(0.8, "divides the logits; 0: always the likeliest token", at_least=0)
    top_k: int | None = option(None, "sample among the k likeliest tokens; null: all", at_least=1)
    top_p: float | None = option(
        None, "sample among the likeliest tokens that hold this probability; null: all", above=0, at_most=1
    )
    seed: int = option(0, "of the sampling", at_least=0)
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")


ROOTS: dict[str, type] = {
    "prepare": PrepareConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "generate": GenerateConfig,
}
