"""Where `evaluate` finds the model that answers are measured against: named, or the one that the run started from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands.tasks.chats import check_decoder
from bigtrain.commands.tasks.reference import FILE, ReferenceModel, read
from bigtrain.commands.tasks.run_settings import config_of, run_of
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.schema import StartConfig
from bigtrain.models.starting import starting_shape
from bigtrain.models.vocabulary import contains
from bigtrain.objectives.schema import PreferenceConfig
from bigtrain.training.checkpoint import resolve

if TYPE_CHECKING:
    from bigtrain.schema import EvaluateConfig
    from bigtrain.tokenizer import Tokenizer

_REMEDY = "name the model that the run started from: evals.reference=FOLDER"


def reference_of(config: EvaluateConfig, source: ModelFolder, tokenizer: Tokenizer) -> tuple[ReferenceModel, float]:
    """The reference and beta. Raises UserError where neither this command nor a run says what they are."""
    run = run_of(source.folder)
    said = config_of(run, _REMEDY) if run else {}
    folder = _folder(config, run, said)
    beta = config.evals.beta or (said.get("objective") or {}).get("beta") or PreferenceConfig().beta
    own, before = read_folder(folder, resize_vocab=True)
    check_decoder(own, f"evals.reference={folder}")
    if not contains(tokenizer, before):
        raise UserError(
            f"evals.reference: {folder} with checkpoint={config.checkpoint}",
            "both read the same tokens: their log-probabilities are compared",
            _REMEDY,
        )
    log.info("rewards are measured against %s, with beta %g", folder, beta)
    if run and not config.evals.reference:
        shape = source.config  # the run may have changed what is no tensor, for both
    else:
        shape = starting_shape(own.config, tokenizer, StartConfig(own.config.vocab_size != source.config.vocab_size))
    model = ReferenceModel(lambda: folder, shape, tokenizer, int(said.get("seed", 0)), config.device.compile)
    if run and not config.evals.reference:
        _check_unchanged(run, model)
    return model, float(beta)


def _folder(config: EvaluateConfig, run: Path | None, said: dict[str, Any]) -> Path:
    if config.evals.reference:
        return resolve(Path(config.evals.reference))
    if not said.get("init_from"):
        raise UserError(
            f"evals.pairs=true with checkpoint={config.checkpoint}, which lies in "
            + (f"{run}, a run from random weights" if run else "no run folder"),
            "rewards are measured against the model that the run started from",
            _REMEDY,
        )
    try:
        return resolve(Path(said["init_from"]))
    except UserError as error:
        raise UserError(f"init_from of {run}: {error.given}", error.rule, _REMEDY) from None


def _check_unchanged(run: Path, model: ReferenceModel) -> None:
    """Raises UserError where the run knows that it started from other weights."""
    known = read(run / FILE).weights
    if known and known != model.digest():
        raise UserError(
            f"{model.folder}: other weights than those that {run} started from",
            "rewards are measured against the model that the run started from",
            "name a copy of that model: evals.reference=FOLDER",
        )
