"""Pairs of a better and a worse answer: direct preference optimisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands.tasks.base import Measurement, Task, batch_rows, refuse_unread, window_length
from bigtrain.commands.tasks.chats import chatting, check_decoder, marked, refuse_labels
from bigtrain.commands.tasks.reference import FILE, TRAINING, ReferenceModel, computed, kept_or_computed, know
from bigtrain.commands.tasks.reference_source import reference_of
from bigtrain.commands.tasks.rows import (
    apart,
    check_rows,
    fingerprint,
    measured_files,
    rows_at_once,
    validation_file,
    warn_of_leaks,
)
from bigtrain.config import Loaded
from bigtrain.data.tasks.packed_pairs import LINES, PackedPairs, fitted_pairs
from bigtrain.data.tasks.pairs import Pair, pair_prompts, read_pairs
from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Part
from bigtrain.evaluation.task_report import preferences_section
from bigtrain.generation.chat import Chat
from bigtrain.log import log
from bigtrain.models.huggingface import ModelFolder
from bigtrain.objectives.preference import Preference
from bigtrain.tokenizer import Tokenizer
from bigtrain.training.checkpoint import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig

_OF_ONE_ANSWER = (
    *("data.answer_field", "data.answers", "data.train_answers", "data.validation_answers"),
    "data.columns",
)
_RULE = "a row holds its two answers in `chosen` and `rejected`"


def preference_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's language model on pairs of answers, packed into rows."""
    config: FinetuneConfig = loaded.config
    training, checked = _read_parts(loaded)
    found = chatting(loaded, folder)
    model, tokenizer, seq_len = found.model, found.tokenizer, found.seq_len
    n_rows = batch_rows(config.train, LINES * seq_len)
    given = f"data.train={config.data.train}"
    parts = {TRAINING: _packed(training, found.chat, seq_len, tokenizer, given, n_rows)[0]}
    places: list[int] = []
    if checked:
        parts["validation"], places = _packed(checked, found.chat, seq_len, tokenizer, "the validation pairs")
    leaks = None
    if placement.leads:
        said = "%d pairs in %d rows of two lines; %.1f %% of the tokens are padding in batches of %d rows"
        rows = parts[TRAINING]
        log.info(said, len(rows.pairs), len(rows), 100 * rows.padding(config.seed, n_rows), n_rows)
        _show(training[0], found.chat)
        leaks = warn_of_leaks(_places(training), _places(checked), "prompts")

    def before(run: Path, begun: bool) -> None:
        if leaks:
            leaks(run, begun)

        def start() -> Path:
            return resolve(Path(config.init_from), "init_from") if begun else folder

        device = config.device
        reference = ReferenceModel(start, model.config, tokenizer, config.seed, device.compile)
        arithmetic = f"{placement.device.type} {device.precision} {device.fp32_matmul} {device.compile}"
        setting = f"{tokenizer.hash} {arithmetic} {config.seed}"
        kept_or_computed(run / FILE, reference, parts, placement, setting=setting, begun=begun)

    return Task(
        model=model,
        init_from=folder,
        objective=Preference(config.objective.beta, compile=config.device.compile),
        rows=parts[TRAINING],
        validation=lambda rows: [Part(parts["validation"].batches(rows))] if checked else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(*([pair.conversations for pair in part] for part in (training, checked))),
        seq_len=seq_len,
        batch_rows=n_rows,
        lines=LINES,
        before=before,
        sections=PairsReport([checked[place] for place in places]).sections,
    )


def preference_measurement(
    loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement
) -> Measurement:
    """The pairs of files, as in the run."""
    config: EvaluateConfig = loaded.config
    given = "evals.pairs=true"
    refuse_labels(loaded, given)
    refuse_unread(loaded, _OF_ONE_ANSWER, given, _RULE)
    check_decoder(source, f"{given} with checkpoint={config.checkpoint}")
    pairs: list[Pair] = []
    for path in measured_files(loaded, source):
        pairs += _read(loaded, path)
    if not pairs:
        raise UserError(f"{given} without data.files=", "there is something to measure", "name a file")
    pairs = pairs[: config.evals.max_tokens]
    seq_len = window_length(config, source)
    packed, places = _packed(pairs, Chat(tokenizer, config.checkpoint), seq_len, tokenizer, "data.files=")
    reference, beta = reference_of(config, source, tokenizer)
    report = PairsReport([pairs[place] for place in places])

    def before() -> None:
        parts = {"measured": packed}
        know(parts, computed(reference, parts, placement))

    batches = packed.batches(rows_at_once(config, LINES * seq_len))
    size = {"rows": len(packed.pairs)}
    return Measurement(Preference(beta), batches, size, report.predictions, report.sections, before=before)


def _places(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    return [*zip(pair_prompts(pairs), (pair.where for pair in pairs), strict=True)]


class PairsReport:
    """Of the pairs that were measured, in their order."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs, self.prompts = pairs, pair_prompts(pairs)

    def predictions(self, sums: dict[str, NDArray[Any]]) -> Iterator[dict[str, Any]]:
        """Prompt, both answers and their rewards."""
        for pair, prompt, rewards in zip(self.pairs, self.prompts, sums["rewards"].tolist(), strict=True):
            yield {
                "prompt": prompt,
                "chosen": pair.chosen["content"],
                "rejected": pair.rejected["content"],
                "reward_chosen": round(rewards[0], 6),
                "reward_rejected": round(rewards[1], 6),
                "where": pair.where,
            }

    def sections(self, sums: dict[str, NDArray[Any]]) -> list[str]:
        """The pairs of which the worse answer is preferred most clearly."""
        return [preferences_section([*self.predictions(sums)])]


def _read_parts(loaded: Loaded) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs: of two files, or of one, of which a share is held out."""
    config: FinetuneConfig = loaded.config
    check_rows(loaded)
    refuse_labels(loaded, "objective=preference")
    refuse_unread(loaded, _OF_ONE_ANSWER, "objective=preference", _RULE)
    assert config.data.train
    training = _read(loaded, Path(config.data.train))
    if path := validation_file(loaded):
        return training, _read(loaded, Path(path))
    return apart(loaded, training, pair_prompts(training), "pairs", "prompts")


def _read(loaded: Loaded, path: Path) -> list[Pair]:
    form, found = read_pairs(path, loaded.config.data)
    log.info("%s: %d pairs of the form %s", path, len(found), form)
    return found


def _packed(
    pairs: Sequence[Pair], chat: Chat, seq_len: int, tokenizer: Tokenizer, given: str, n_rows: int = 1
) -> tuple[PackedPairs, list[int]]:
    """Rows of pairs, and where these stood among all. n_rows: of the global batch of training.

    Raises UserError where none has both answers in its place.
    """
    both = zip(*(pair.conversations for pair in pairs), strict=True)
    chosen, rejected = (
        chat.encode_answered([(one, pair.where) for one, pair in zip(side, pairs, strict=True)]) for side in both
    )
    fit = fitted_pairs(chosen, rejected, seq_len)
    if fit.n_cut or fit.n_dropped:
        said = "%d of %d pairs are longer than %d tokens and lose the end of an answer; %d more lose an answer, or all "
        said += "that its two answers differ in, and are left out"
        log.warning(said, fit.n_cut, len(pairs), seq_len, fit.n_dropped)
    if not fit.pairs:
        raise UserError(
            f"{given}: no pair has two different answers within {seq_len} tokens",
            "what is learned is to prefer one of them",
            "give longer rows (train.seq_len=), or shorter conversations",
        )
    return PackedPairs(fit.pairs, seq_len, pad_id=tokenizer.pad_id, batch_rows=n_rows), fit.places


def _show(pair: Pair, chat: Chat) -> None:
    (text, better), (other, worse) = (chat.answers(one, pair.where) for one in pair.conversations)
    start, end = worse[-1]
    said = "the first as the model reads it (%s), the chosen answer in [[ ]]:\n%s\nthe rejected answer:\n%s"
    log.info(said, pair.where, marked(text, better[-1:]), marked(other[start:end], [(0, end - start)]))
