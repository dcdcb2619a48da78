"""Answers to questions as pieces of their contexts: from SQuAD's JSON and JSON Lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands.tasks.base import Measurement, Task, batch_rows, refuse_unread, row_length, window_length
from bigtrain.commands.tasks.rows import (
    apart,
    check_rows,
    fingerprint,
    measured_files,
    rows_at_once,
    say_segments,
    validation_file,
    warn_of_leaks,
)
from bigtrain.config import Loaded
from bigtrain.data.reading.sources import Problems
from bigtrain.data.schema import LabelsConfig
from bigtrain.data.tasks.contexts import ContextRows, decoder_frame, encoder_frame
from bigtrain.data.tasks.forms_schema import MeasuredFormsConfig, TrainFormsConfig
from bigtrain.data.tasks.questions import Question, read_questions
from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Part
from bigtrain.evaluation.task_report import wrong_rows_section
from bigtrain.log import log
from bigtrain.metrics.answers import squad_scores
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.starting import starting_shape
from bigtrain.objectives.span import DEFAULT_THRESHOLD, Found, Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.models.base import ModelConfig
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig
    from bigtrain.tokenizer import Tokenizer

_OTHERS = (LabelsConfig, TrainFormsConfig, MeasuredFormsConfig)  # what rows of other kinds are called
_UNREAD = sorted({"data.text_field", *(f"data.{field.name}" for kind in _OTHERS for field in dataclasses.fields(kind))})
_AROUND = 150  # characters before and after an answer in the report
_NONE = "(no answer)"


def span_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model with a head for the first and the last token of an answer."""
    config: FinetuneConfig = loaded.config
    training, checked = _read_parts(loaded)
    source, tokenizer = read_folder(folder, resize_vocab=config.model.resize_vocab)
    shape = starting_shape(source.config, tokenizer, config.model)
    silent = not all(question.answers for question in checked or training)  # else nothing here uses a threshold
    thresholds = source.output.thresholds if silent and source.output.kind is OutputKind.span else ()
    model = on_meta(shape, Output(OutputKind.span, thresholds=thresholds))
    seq_len, most = row_length(config.train, model), config.objective.max_answer_tokens
    n_rows = batch_rows(config.train, seq_len)
    given = _reading(model.config, tokenizer, seq_len, config.objective.overlap)
    if given["segments"]:
        say_segments(tokenizer)
    rows = ContextRows(training, tokenizer, **given, batch_rows=n_rows)
    validation = ContextRows(checked, tokenizer, **given) if checked else None
    before = None
    if placement.leads:
        _log(rows, most, n_rows, config.seed)
        before = warn_of_leaks(_contexts(training), _contexts(checked), "contexts")

    def tuned(threshold: float) -> None:
        model.output = dataclasses.replace(model.output, thresholds=(threshold,))  # goes into the next checkpoint

    objective = Span(validation, most, tuned=tuned)

    def sections(sums: dict[str, NDArray[Any]]) -> list[str]:
        threshold = model.output.thresholds[0] if objective.unanswerable else None
        return _Report(objective, checked, threshold).sections(sums)

    return Task(
        model=model,
        init_from=folder,
        objective=objective,
        rows=rows,
        validation=lambda rows: [Part(validation.batches(rows))] if validation else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(*(_content(questions) for questions in (training, checked))),
        seq_len=seq_len,
        batch_rows=n_rows,
        before=before,
        sections=sections,
    )


def _read_parts(loaded: Loaded) -> tuple[list[Question], list[Question]]:
    """Training and validation questions: of two files, or of one, of which a share of the contexts is held out."""
    config: FinetuneConfig = loaded.config
    check_rows(loaded)
    rule = "questions, contexts and answers stand in fields of SQuAD's names"
    augment = sorted(key for key in loaded.named if key.startswith("data.augment."))
    refuse_unread(loaded, _UNREAD, "objective=span", rule)
    refuse_unread(loaded, augment, "objective=span", "an answer is a piece of its context, which must stay as it is")
    refuse_unread(loaded, ["train.sample_prompts"], "objective=span", "such a model writes no text")
    data = config.data
    assert data.train
    training = _read(data, [Path(data.train)])
    if path := validation_file(loaded):
        return training, _read(data, [Path(path)])
    contexts = [question.context for question in training]
    return apart(loaded, training, contexts, "questions", "contexts")


def _read(data: Any, paths: Sequence[Path]) -> list[Question]:
    """data: FinetuneDataConfig or EvaluateDataConfig."""
    problems = _Problems(data.on_error, data.max_errors)
    questions = read_questions(paths, problems)
    if problems.first:
        said = "data.on_error=skip: %d rows are left out; the first: %s"
        log.warning(said, problems.count, problems.first.given)
    return questions


class _Problems(Problems):
    """Keeps the first one as well."""

    first: UserError | None = None

    def __call__(self, error: UserError, n: int = 1) -> None:
        self.first = self.first or error
        super().__call__(error, n)


def _reading(config: ModelConfig, tokenizer: Tokenizer, seq_len: int, overlap: int | None) -> dict[str, Any]:
    """How a model reads questions with their contexts: arguments of `ContextRows`."""
    overlap = min(128, seq_len // 4) if overlap is None else overlap
    if isinstance(config, EncoderConfig):
        assert config.n_segments is not None
        frame, segments = encoder_frame(tokenizer), config.n_segments > 1
        return {"seq_len": seq_len, "frame": frame, "overlap": overlap, "segments": segments}
    frame = decoder_frame(tokenizer)
    return {"seq_len": seq_len, "frame": frame, "overlap": overlap, "segments": False, "null_last": True}


def _log(rows: ContextRows, most: int, n_rows: int, seed: int) -> None:
    log.info(
        "%d questions in %d rows; %.1f %% of the tokens are padding in batches of %d rows",
        len(rows.questions),
        len(rows),
        100 * rows.padding(seed, n_rows),
        n_rows,
    )
    if beyond := rows.out_of_reach(most):
        said = "%d answers are longer than %d tokens (objective.max_answer_tokens) or than the overlap of two windows"
        log.warning(said, beyond, most)


def _contexts(questions: Sequence[Question]) -> list[tuple[str, str]]:
    """Each context once, with the place of its first question."""
    return [*{question.context: question.where for question in reversed(questions)}.items()]


def _content(questions: Sequence[Question]) -> list[Any]:
    return [(one.id, one.question, one.context, one.answers) for one in questions]


def span_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """The questions of files; with the threshold of the checkpoint, where it has one."""
    config: EvaluateConfig = loaded.config
    kind = f"checkpoint= of {source.output}"
    refuse_unread(loaded, _UNREAD, kind, "it reads fields of SQuAD's names")
    questions = _read(config.data, measured_files(loaded, source))[: config.evals.max_tokens]
    given = _reading(source.config, tokenizer, window_length(config, source), config.evals.overlap)
    rows = ContextRows(questions, tokenizer, **given)
    unanswerable = not all(question.answers for question in questions)
    threshold = source.output.thresholds[0] if source.output.thresholds else DEFAULT_THRESHOLD if unanswerable else None
    objective = Span(rows, config.evals.max_answer_tokens, threshold=threshold)
    batches = rows.batches(rows_at_once(config, int(rows.lengths.max())))
    report = _Report(objective, questions, threshold)
    size = {"questions": len(questions), "rows": len(rows)}
    return Measurement(objective, batches, size, report.predictions, report.sections)


class _Report:
    """What was answered to each question."""

    def __init__(self, objective: Span, questions: Sequence[Question], threshold: float | None) -> None:
        self.objective, self.questions, self.threshold = objective, questions, threshold

    def answered(self, sums: dict[str, NDArray[Any]]) -> Iterator[tuple[Question, str, Found]]:
        """Question, answer, and what it comes from."""
        found = self.objective.found(sums)
        yield from zip(self.questions, self.objective.answers(found, self.threshold), found, strict=True)

    def predictions(self, sums: dict[str, NDArray[Any]]) -> Iterator[dict[str, Any]]:
        """score and null_score: logits of first and last token, of the best answer and of none."""
        for question, answer, found in self.answered(sums):
            yield {
                "id": question.id,
                "question": question.question,
                "answer": answer,
                "score": round(found.score, 6),
                "null_score": round(found.null_score, 6),
                "references": question.references,
            }

    def sections(self, sums: dict[str, NDArray[Any]]) -> list[str]:
        """What is wrong with most confidence."""
        wrong = []
        for question, answer, found in self.answered(sums):
            if squad_scores([answer], [question.references], self.objective.language)["exact_match"]:
                continue
            place = question.answers[0].start if question.answers else question.context.find(answer)
            excerpt = question.context[max(0, place - _AROUND) : place + _AROUND]
            wrong.append(
                {
                    "text": f"{question.question}\n\n{excerpt}",
                    "label": " | ".join(dict.fromkeys(question.references)) or _NONE,
                    "predicted": answer or _NONE,
                    "confidence": found.confidence if answer else found.null_confidence,
                    "where": question.where,
                }
            )
        return [wrong_rows_section(wrong)]
