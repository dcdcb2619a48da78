"""What all tasks on rows of files share, whatever is learned from the rows."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bigtrain.commands.tasks.base import TOKENS_AT_ONCE, named_fields, refuse_unread
from bigtrain.config import Loaded
from bigtrain.data.schema import OnError, TagsConfig
from bigtrain.data.tasks.forms_schema import TrainFormsConfig
from bigtrain.data.tasks.held_out import held_out
from bigtrain.data.tasks.labels import UnknownLabel, unnamed
from bigtrain.data.tasks.leaks import find_leaks
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.models.output import OutputKind
from bigtrain.storage import write_bytes

if TYPE_CHECKING:
    from bigtrain.models.huggingface import ModelFolder
    from bigtrain.schema import EvaluateConfig, FinetuneConfig
    from bigtrain.tokenizer import Tokenizer

T = TypeVar("T")
Places = Sequence[tuple[str, str]]  # texts, and where each stands

LEAKS = "leaks.jsonl"
_SHOWN = 10  # of them, in the log
_ASKED = {OutputKind.label: "one label each", OutputKind.labels: "lists of labels", OutputKind.tags: "tags"}

_TEXT = ("data.files", "data.path", "data.builtin")
_OF_TEXT = (
    *("data.test_fraction", "data.split_by", "data.group_field", "data.sample", "data.format", "data.encoding"),
    *("data.max_row_bytes", "data.document", "data.delimiter"),
)
_OF_TRAINING_TEXT = (*_OF_TEXT, "train.isolate_documents", "train.eval_tokens", "train.eval_train_tokens")
_OF_MEASURED_TEXT = (*_OF_TEXT, "data.path", "data.builtin", "data.split", "data.validation_fraction")
_SKIPPING = ("data.on_error", "data.max_errors")
_NONE_SKIPPED = "a row that cannot be read ends it, and is named"
_FORMS = ("data.form", "data.prompt_field", "data.answer_field")
_PARALLEL = "a line is a prompt or an answer, and has no fields"


def check_rows(loaded: Loaded) -> None:
    """Raises UserError where a fine-tuning task on rows names text, or no rows."""
    config: FinetuneConfig = loaded.config
    given, rule = f"objective={config.objective.name}", "it reads the rows of a file"
    raw = [*_TEXT, *sorted(key for key in loaded.named if key.startswith(("data.sets.", "data.sources.")))]
    refuse_unread(loaded, raw, given, rule, "data.train= and data.validation=")
    refuse_unread(loaded, _OF_TRAINING_TEXT, given, rule)
    _check_skipping(loaded, given, skips=config.objective.name == "span")
    if config.objective.name not in ("sft", "preference"):
        of_answers = named_fields(loaded, TrainFormsConfig)
        refuse_unread(loaded, of_answers, given, "conversations are read with objective=sft or preference")
    elif config.data.train_answers and (config.data.validation_answers or not config.data.validation):
        refuse_unread(loaded, _FORMS, "data.train_answers=", _PARALLEL)
    if config.objective.name != "tag":
        of_tags = named_fields(loaded, TagsConfig)
        refuse_unread(loaded, of_tags, given, "words with tags are read with objective=tag")
    if not config.data.train:
        raise UserError(f"{given} without data.train=", "it learns from the rows of a file", "give data.train=FILE")


def head_labels(
    config: FinetuneConfig, source: ModelFolder, kind: OutputKind, found: tuple[str, ...]
) -> tuple[str, ...]:
    """The labels in the order of the outputs of a head of this kind. found: those of the rows. Raises UserError."""
    given, own = tuple(config.objective.labels), source.output.labels
    if source.output.kind is kind and not config.objective.new_head:
        # A model that learns on keeps the order of its labels: its head has a row for each.
        if given and given != own and not (len(given) == len(own) and unnamed(own)):
            raise UserError(
                f"objective.labels=[{','.join(given)}] with {source.output}",
                "its outputs are those labels in that order; rows name theirs, so that the order does not matter",
                "leave objective.labels out; or let objective.new_head=true draw a head for them",
            )
        return given or own
    if source.output.language and config.objective.new_head:
        rule = "it has no head for labels, and gets a new one in any case"
        raise UserError(f"objective.new_head=true with {source.output}", rule, "leave objective.new_head out")
    if not source.output.language and not config.objective.new_head:
        raise UserError(
            f"init_from={config.init_from}: {source.output}",
            f"the rows have {_ASKED[kind]}, and its head is for something else",
            "give rows such as it learned from; or let objective.new_head=true draw a head for these",
        )
    labels = given or found
    if without := [label for label in given if label not in found]:
        log.warning("no row has %s of objective.labels", ", ".join(map(repr, without)))
    if len(labels) < (1 if kind is OutputKind.labels else 2):
        noun, key = ("tag", "data.tags_field") if kind is OutputKind.tags else ("label", "data.label_field")
        raise UserError(
            f"one {noun} in {config.data.train}: {', '.join(labels)}"
            if labels
            else f"no {noun} in any row of {config.data.train}",
            f"two {noun}s or more are told apart",
            f"give more rows, or set {key}=",
        )
    return labels


def say_segments(tokenizer: Tokenizer) -> None:
    """Let transformers' tokenizers give the segments of pairs: else the model hears of one text."""
    tokenizer.config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]


@contextlib.contextmanager
def given_labels(config: FinetuneConfig, source: ModelFolder, labels: tuple[str, ...]) -> Iterator[None]:
    """Says of a label that a new head lacks what can be done where objective.labels names its labels."""
    try:
        yield
    except UnknownLabel as error:
        if not config.objective.labels or labels == source.output.labels:
            raise
        rule = "objective.labels names all labels of the head"
        raise UserError(error.given, rule, "add it to objective.labels, or correct the row") from None


def warn_of_leaks(training: Places, checked: Places, kind: str) -> Callable[[Path, bool], None] | None:
    """Say how many validation texts are those of training as well, and show ten. kind: what the log calls them.

    Returns what lists all of them in the run folder, for `Task.before`.
    """
    leaks = find_leaks([text for text, _ in training], [text for text, _ in checked]) if checked else None
    if not leaks:
        return None
    found = [
        {"validation": checked[one][1], "training": training[other][1], "same": same}
        for same, pairs in ((True, leaks.exact), (False, leaks.near))
        for one, other in pairs
    ]
    said = "%d of %d %s of validation are %s of training as well, %d word for word and %d nearly: their metrics say "
    shown = [f"{row['validation']} is {'' if row['same'] else 'nearly '}{row['training']}" for row in found[:_SHOWN]]
    rest = [f"{len(found) - _SHOWN} more in the run's {LEAKS}"] if len(found) > _SHOWN else []
    counts = len(found), len(checked), kind, kind, len(leaks.exact), len(leaks.near)
    log.warning(said + "too much\n  %s", *counts, "\n  ".join([*shown, *rest]))
    return lambda run, begun: write_bytes(run / LEAKS, "".join(json.dumps(row) + "\n" for row in found).encode())


def validation_file(loaded: Loaded) -> str | None:
    """The file of validation rows, if they have one. Raises UserError where a share of the others is named, too."""
    path: str | None = loaded.config.data.validation
    if path:
        rule = "the validation rows have a file of their own"
        refuse_unread(loaded, ["data.validation_fraction"], "data.validation=", rule)
    else:
        rule = "its lines answer those of that file"
        refuse_unread(loaded, ["data.validation_answers"], "no data.validation=", rule, "data.validation=FILE")
    return path


def _check_skipping(loaded: Loaded, given: str, *, skips: bool) -> None:
    """Refuse what says that rows are skipped where none is. skips: whether what is `given` can skip some."""
    if not skips:
        refuse_unread(loaded, _SKIPPING, given, _NONE_SKIPPED)
    elif loaded.config.data.on_error is OnError.stop:
        refuse_unread(loaded, ["data.max_errors"], "data.on_error=stop", _NONE_SKIPPED, "data.on_error=skip")


def apart(loaded: Loaded, rows: Sequence[T], texts: Sequence[str], kind: str, by: str) -> tuple[list[T], list[T]]:
    """Training and validation rows: of `rows` a share is held out by the hash of their texts, equal ones together.

    kind, by: what the log calls the rows and the texts. Raises UserError as `none_held` does.
    """
    held = held_out(texts, [()] * len(texts), loaded.config.data.validation_fraction)
    if held.any():
        said = "no data.validation=: %d of %d %s are held out, by a hash of their %s"
        log.info(said, held.sum(), len(rows), kind, by)
    else:
        none_held(loaded, len(rows), kind)
    kept, checked = ([rows[row] for row in part.nonzero()[0].tolist()] for part in (~held, held))
    return kept, checked


def none_held(loaded: Loaded, n_rows: int, kind: str) -> None:
    """Say that there is no validation data. Raises UserError where a metric is to decide about the best checkpoint."""
    fraction = loaded.config.data.validation_fraction
    if "train.metric" in loaded.named:
        few = f": {n_rows} {kind} are too few to hold {fraction:g} of them out" if fraction else ""
        raise UserError(
            f"train.metric={loaded.config.train.metric} without validation data{few}",
            "a metric is measured on validation data",
            "give more rows or a file of others (data.validation=), or leave train.metric out",
        )
    if fraction:
        log.info("%d %s are too few to hold %g of them out: there is no validation data", n_rows, kind, fraction)


def measured_files(loaded: Loaded, source: ModelFolder) -> list[Path]:
    """The files that a checkpoint for rows is measured on. Raises UserError for keys that say something else."""
    config: EvaluateConfig = loaded.config
    kind = f"checkpoint= of {source.output}"
    refuse_unread(loaded, _OF_MEASURED_TEXT, kind, "it is measured on the rows of data.files=[FILE,...]")
    _check_skipping(loaded, kind, skips=source.output.kind is OutputKind.span)
    files = [Path(path) for given in config.data.files for path in sorted(glob.glob(given)) or [given]]  # noqa: PTH207
    if config.data.answers:
        refuse_unread(loaded, _FORMS, "data.answers=", _PARALLEL)
        if len(files) > 1:
            raise UserError(
                f"data.answers={config.data.answers} with {len(files)} files: {', '.join(map(str, files[:5]))}",
                "line n of it is the answer to line n of data.files=",
                "measure one file at a time, or join them and their answers",
            )
    return files


def rows_at_once(config: EvaluateConfig, longest: int) -> int:
    """Rows of a batch of an evaluation, of which the longest has so many tokens."""
    return config.evals.batch_rows or max(1, TOKENS_AT_ONCE // longest)


def fingerprint(*contents: Any) -> str:
    """Of rows as they were read: what a run must find again when it continues."""
    return hashlib.sha256(repr(contents).encode()).hexdigest()
