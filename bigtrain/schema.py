"""The root config of each verb, and the table that says which dataclass a group's option fills.

Torch-free, so that the command line can compose, check and lock a run folder before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bigtrain.data.cleaning.schema import CleanConfig
from bigtrain.data.contamination_schema import DecontaminateConfig
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.executor_schema import DaskConfig, LocalConfig
from bigtrain.data.privacy.schema import PiiConfig
from bigtrain.data.schema import (
    AutoTokenizerConfig,
    BPEConfig,
    BytesConfig,
    CharsConfig,
    DataConfig,
    FileTokenizerConfig,
    LabelsConfig,
    RowsConfig,
    TagsConfig,
    UnigramConfig,
    WordPieceConfig,
    WordsConfig,
    check_text_field,
)
from bigtrain.data.tasks.forms_schema import MeasuredFormsConfig, TrainFormsConfig
from bigtrain.errors import UserError
from bigtrain.evaluation.schema import EvalsConfig
from bigtrain.models.adapter_schema import DoraConfig, LoraConfig, NoAdapterConfig
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.recurrent_schema import RecurrentConfig
from bigtrain.models.schema import DecoderConfig, InheritedConfig, StartedConfig
from bigtrain.objectives.schema import (
    CausalConfig,
    ClassifyConfig,
    MaskedConfig,
    PreferenceConfig,
    RegressConfig,
    SftConfig,
    SpanConfig,
    TagConfig,
)
from bigtrain.options import REQUIRED, option
from bigtrain.parallel.schema import DeviceConfig, ParallelConfig, ThreadsConfig
from bigtrain.training.schedules import ConstantConfig, CosineConfig, LinearConfig, PlateauConfig, WSDConfig
from bigtrain.training.schema import (
    AdadeltaConfig,
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    ResumeConfig,
    RunConfig,
    SearchConfig,
    SGDConfig,
    TrainConfig,
)
from bigtrain.training.track_schema import MlflowConfig, NoTrackConfig, TensorboardConfig, WandbConfig

# Nodes whose dataclass is chosen by the node's own `name:`. Adding a class here, or an entry point, adds a choice.
CHOICES: dict[str, dict[str, type]] = {
    "model": {
        "decoder": DecoderConfig,
        "encoder": EncoderConfig,
        "recurrent": RecurrentConfig,
        "inherited": InheritedConfig,
    },
    "tokenizer": {
        "auto": AutoTokenizerConfig,
        "bpe": BPEConfig,
        "wordpiece": WordPieceConfig,
        "unigram": UnigramConfig,
        "words": WordsConfig,
        "bytes": BytesConfig,
        "chars": CharsConfig,
        "file": FileTokenizerConfig,
    },
    "executor": {"local": LocalConfig, "dask": DaskConfig},
    "objective": {
        "causal": CausalConfig,
        "masked": MaskedConfig,
        "classify": ClassifyConfig,
        "regress": RegressConfig,
        "tag": TagConfig,
        "span": SpanConfig,
        "sft": SftConfig,
        "preference": PreferenceConfig,
    },
    "track": {"none": NoTrackConfig, "tensorboard": TensorboardConfig, "wandb": WandbConfig, "mlflow": MlflowConfig},
    "adapter": {"none": NoAdapterConfig, "lora": LoraConfig, "dora": DoraConfig},
    "optimizer": {
        "adamw": AdamWConfig,
        "adam": AdamConfig,
        "muon": MuonConfig,
        "sgd": SGDConfig,
        "adadelta": AdadeltaConfig,
        "adafactor": AdafactorConfig,
    },
    "schedule": {
        "constant": ConstantConfig,
        "linear": LinearConfig,
        "cosine": CosineConfig,
        "wsd": WSDConfig,
        "plateau": PlateauConfig,
    },
}


@dataclass
class FinetuneDataConfig(DataConfig, RowsConfig, TrainFormsConfig):
    """Text (`causal`, `masked`: files, path, builtin or sets), or rows of files (the others: train and validation)."""

    def check(self) -> None:
        """Which source is needed depends on the objective: `commands/finetune.py` asks for it. Raises UserError."""
        check_text_field(self.text_field)
        self.settled_form()


@dataclass
class RawDataConfig(DataConfig):
    """Text that has not been prepared."""

    places: ClassVar[tuple[str, ...]] = DataConfig.places[:2]


@dataclass
class PrepareConfig:
    """`bigtrain prepare`: raw files -> token shards and a manifest."""

    data: RawDataConfig = option(RawDataConfig, "where the text comes from")
    clean: CleanConfig = option(CleanConfig, "what is repaired and removed, and which documents are dropped")
    dedup: DedupConfig = option(DedupConfig, "what counts as a duplicate")
    pii: PiiConfig = option(PiiConfig, "personal data and secrets")
    decontaminate: DecontaminateConfig = option(DecontaminateConfig, "evaluation sets that must not be trained on")
    tokenizer: Any = option(REQUIRED, "how text becomes ids")
    executor: Any = option(REQUIRED, "who does the work")
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
    search: SearchConfig = option(SearchConfig, "hyper-parameters, with -m")
    track: Any = option(NoTrackConfig, "who is told of the metrics besides the run folder")
    init_from: str | None = option(None, "weights to start from: a run, a checkpoint or a Hugging Face folder")
    seed: int = option(1337, "of the initial weights, the data order and dropout", at_least=0)


@dataclass
class FinetuneConfig:
    """`bigtrain finetune`: a checkpoint and task data -> a task model."""

    model: StartedConfig = option(StartedConfig, "what may change in the model")
    adapter: Any = option(REQUIRED, "what is trained instead of the weights")
    data: FinetuneDataConfig = option(FinetuneDataConfig, "text or labelled rows")
    objective: Any = option(REQUIRED, "what is learned")
    optimizer: Any = option(REQUIRED, "how weights move")
    schedule: Any = option(REQUIRED, "how the learning rate moves")
    train: TrainConfig = option(TrainConfig, "the loop")
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")
    parallel: ParallelConfig = option(ParallelConfig, "several processes")
    run: RunConfig = option(RunConfig, "the run folder")
    resume: ResumeConfig = option(ResumeConfig, "continuing a run")
    search: SearchConfig = option(SearchConfig, "hyper-parameters, with -m")
    track: Any = option(NoTrackConfig, "who is told of the metrics besides the run folder")
    init_from: str = option(REQUIRED, "the model to start from: a run, a checkpoint or a Hugging Face folder")
    seed: int = option(1337, "of the new head, the data order and dropout", at_least=0)


@dataclass
class EvaluateDataConfig(DataConfig, LabelsConfig, TagsConfig, MeasuredFormsConfig):
    """Text, or labelled rows for a model that has learned from such."""

    places: ClassVar[tuple[str, ...]] = DataConfig.places[:3]

    split: str = option("validation", "which part of a prepared set is measured: train, validation or test")


@dataclass
class EvaluateConfig:
    """`bigtrain evaluate`: a checkpoint and data -> metrics and gates."""

    checkpoint: str = option(REQUIRED, "a run, a checkpoint or a Hugging Face folder")
    data: EvaluateDataConfig = option(EvaluateDataConfig, "what it is measured on")
    evals: EvalsConfig = option(EvalsConfig, "how it is measured")
    gates: dict[str, str] = option(dict, "METRIC: '>=0.9' and the like; a missed gate ends with exit code 3")
    output: str | None = option(None, "folder for metrics.json and report.html; null: only standard output")
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")
    parallel: ThreadsConfig = option(ThreadsConfig, "several processes")


_COLDEST = 0.01  # of the temperatures that are drawn at
_CHOOSING = ("top_k", "top_p", "min_p")
_PENALTIES = ("repetition_penalty", "presence_penalty")


@dataclass
class GenerateConfig:
    """`bigtrain generate`: a checkpoint and a prompt -> text."""

    checkpoint: str = option(REQUIRED, "a run, a checkpoint or a Hugging Face folder")
    prompt: str | None = option(
        None, "the text to continue, or with [MASK] in it; -p TEXT, or -p - for standard input", may_be_empty=True
    )
    prompts: str | None = option(None, 'a JSON Lines file with rows {"prompt": TEXT} or {"messages": [...]}')
    output: str | None = option(None, "with prompts: the JSON Lines file of their completions")
    chat: bool = option(False, "the prompt is a message to a model that chats; without a prompt: a conversation")
    system: str | None = option(
        None, "with chat=true: the system message that stands before a prompt or a conversation"
    )
    max_new_tokens: int = option(128, "tokens to write at most", at_least=1)
    temperature: float = option(0.8, "divides the logits; 0: always the likeliest token", at_least=0, at_most=100)
    top_k: int | None = option(
        None, "sample among the k likeliest tokens, null: all; fillings of a mask, null: 5", at_least=1
    )
    top_p: float | None = option(
        None, "sample among the likeliest tokens that hold this probability; null: all", above=0, at_most=1
    )
    min_p: float | None = option(
        None, "sample among tokens with this share of the likeliest one's probability; null: all", above=0, at_most=1
    )
    repetition_penalty: float = option(
        1.0, "divides the logits of tokens that are in prompt or text", at_least=0.01, at_most=100
    )
    presence_penalty: float = option(
        0.0, "is taken from the logits of tokens that are in the text", at_least=-100, at_most=100
    )
    stop: list[str] = option(list, "texts that end a completion; it ends before them")
    n: int = option(1, "completions of each prompt", at_least=1)
    beams: int = option(1, "texts that a beam search keeps; 1: none, tokens are drawn", at_least=1)
    logprobs: bool = option(False, "also give each token's id and log-probability")
    choices: list[str] = option(list, "texts whose log-probability after the prompt is computed; nothing is written")
    batch_size: int = option(16, "rows that are computed together", at_least=1)
    seed: int = option(0, "of the sampling", at_least=0)
    device: DeviceConfig = option(DeviceConfig, "the device and its arithmetic")
    parallel: ThreadsConfig = option(ThreadsConfig, "several processes")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.prompt is not None and self.prompts is not None:
            raise UserError("prompt= and prompts=", "one of the two is continued", "leave one of them out")
        if (self.prompts is None) != (self.output is None):
            given, missing = ("output", "prompts") if self.prompts is None else ("prompts", "output")
            rule = "a file of prompts becomes a file of completions; one prompt's completion is printed"
            raise UserError(f"{given}= without {missing}=", rule, f"give {missing}=FILE.jsonl, or leave {given}= out")
        if self.system is not None and not self.chat:
            raise UserError("system= without chat=true", "it is a message to a model that chats", "give chat=true")
        for name in ("stop", "choices"):
            if "" in getattr(self, name):
                raise UserError(f"{name} with an empty text", "each of them is some text", "remove it")
        if 0 < self.temperature < _COLDEST:
            rule = f"logits are divided by it: {_COLDEST} or more, or 0 for the likeliest token each time"
            raise UserError(f"temperature={self.temperature:g}", rule, "give temperature=0")
        if self.temperature == 0 and self.n > 1 and self.beams == 1:
            rule = "the likeliest tokens are the same each time"
            raise UserError(f"n={self.n} with temperature=0", rule, "give a temperature above 0, or beams=")
        if 1 < self.beams < self.n:
            rule = "a beam search finds as many texts as it has beams"
            raise UserError(f"n={self.n} with beams={self.beams}", rule, "give more beams, or a smaller n")
        if self.beams > 1:
            rule = "a beam search draws nothing: it looks for the likeliest texts"
            self._refuse(f"beams={self.beams}", rule, "choices", "temperature", "seed", *_CHOOSING)
            self._refuse(f"beams={self.beams}", "prompts are searched one after the other", "batch_size")
        if self.choices:
            rule = "choices are compared, and nothing is written"
            keys = ("max_new_tokens", "temperature", "stop", "n", "logprobs", "seed")
            self._refuse("choices=", rule, *keys, *_CHOOSING, *_PENALTIES)
        if self.temperature == 0:
            self._refuse("temperature=0", "the likeliest token is taken, and none is drawn", *_CHOOSING)

    def check_filling(self) -> None:
        """What a masked model has no use for. Raises UserError."""
        rule = "it says what stands behind a mask, and writes no text"
        keys = ("chat", "max_new_tokens", "temperature", "top_p", "min_p", "stop", "n", "beams", "logprobs", "choices")
        self._refuse("a masked model", rule, *keys, *_PENALTIES, "seed")

    def _refuse(self, given: str, rule: str, *keys: str) -> None:
        plain = GenerateConfig(checkpoint=self.checkpoint)
        for key in keys:
            if getattr(self, key) != getattr(plain, key):
                raise UserError(f"{given} with {key}={getattr(self, key)}", rule, f"leave {key} out")


ROOTS: dict[str, type] = {
    "prepare": PrepareConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "generate": GenerateConfig,
}
