"""Config of the loop, the optimizers and the run folder. No torch at import: the command line reads it first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bigtrain.errors import UserError
from bigtrain.options import option

if TYPE_CHECKING:
    from bigtrain.models.base import Model
    from bigtrain.training.optimizers import OptimizerSet


@dataclass
class TrainConfig:
    """The loop. Batches are global: the same at any number of processes."""

    max_steps: int | None = option(None, "end after this many optimizer steps", at_least=1)
    max_tokens: int | None = option(None, "end after this many tokens", at_least=1)
    max_epochs: float | None = option(None, "end after this many passes over the training data", above=0)
    max_minutes: float | None = option(
        None, "end in about this time: the steps are planned from the measured rate", above=0
    )
    batch_tokens: int | None = option(
        None, "tokens of a global batch; or give batch_rows; neither: 32 rows", at_least=1, at_most=1 << 30
    )
    batch_rows: int | None = option(
        None, "rows of a global batch; or give batch_tokens; neither: 32 rows", at_least=1, at_most=1 << 20
    )
    seq_len: int | None = option(None, "tokens of a row; null: the model's max_seq_len", at_least=1)
    micro_batch_rows: int | None = option(
        None, "rows computed at once on a process; null: chosen once and recorded", at_least=1
    )
    isolate_documents: bool = option(False, "a token sees only its own document where several are packed into one row")
    freeze: list[str] = option(list, "parameters that keep their values: embedding, blocks.0.*, ...")
    layer_lr_decay: float | None = option(
        None,
        "each block's rate is this times that of the block above it, down to the embedding; null: all alike",
        above=0,
        at_most=1,
    )
    clip_norm: float | None = option(1.0, "largest norm of the gradient; null: no clipping", above=0)
    log_every_steps: int = option(10, "steps between two lines of metrics", at_least=1)
    eval_every_steps: int | None = option(250, "steps between two evaluations; null: only at the end", at_least=1)
    eval_tokens: int | None = option(262144, "validation tokens of an evaluation inside the run; null: all", at_least=1)
    eval_train_tokens: int = option(
        0, "training tokens measured as well, to compare with; they decide nothing", at_least=0
    )
    save_every_steps: int | None = option(250, "steps between two checkpoints; null: only at the end", at_least=1)
    keep_last: int = option(2, "newest checkpoints kept (the best one is kept as well)", at_least=1)
    metric: str = option("loss", "the validation metric that decides which checkpoint is best and when to stop early")
    patience_evals: int | None = option(
        None, "stop when this many evaluations bring no better metric; null: never", at_least=1
    )
    sample_prompts: list[str] = option(list, "prompts continued at every evaluation, to be read in the report")
    sample_tokens: int = option(64, "tokens of such a sample", at_least=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        limits = (self.max_steps, self.max_tokens, self.max_epochs, self.max_minutes)
        if all(limit is None for limit in limits):
            raise UserError(
                "no limit",
                "a run needs an end",
                "give train.max_steps=, train.max_tokens=, train.max_epochs= or train.max_minutes=",
            )
        if self.batch_tokens is not None and self.batch_rows is not None:
            raise UserError(
                f"train.batch_tokens={self.batch_tokens} and train.batch_rows={self.batch_rows}",
                "one of the two gives the size of the global batch",
                "give one and set the other to null",
            )


@dataclass
class RunConfig:
    """The run folder."""

    dir: str | None = option(None, "the run folder; null: a new one in runs/ each time")
    name: str | None = option(None, "a name for the new folder and the report")
    license: str | None = option(None, "licence of the model, such as apache-2.0, for its card (README.md)")


@dataclass
class SearchConfig:
    """A search through what `-m` sweeps; `train.max_minutes` is the time of all its trials together."""

    trials: int | None = option(
        None, "with -m: this many runs, of values that the results so far suggest; null: all combinations", at_least=1
    )
    seed: int = option(0, "of the values that are tried", at_least=0)


class ResumeMode(StrEnum):
    """What to do with a run folder that holds checkpoints."""

    auto = "auto"
    never = "never"
    must = "must"


@dataclass
class ResumeConfig:
    """Continuing a run."""

    mode: ResumeMode = option(
        ResumeMode.auto, "auto: continue if there is a checkpoint; never: refuse a used folder; must: refuse a new one"
    )
    allow: list[str] = option(list, "keys of the run's identity that may differ from the checkpoint's; recorded")


@dataclass
class AdamWConfig:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101). Matrices decay; norms and biases do not."""

    name: str = option("adamw", "the optimizer")
    lr: float = option(3e-4, "peak learning rate", above=0)
    betas: tuple[float, float] = option((0.9, 0.95), "decay of the two moments", at_least=0, below=1)
    eps: float = option(1e-8, "added to the denominator", above=0)
    weight_decay: float = option(0.1, "decoupled decay of matrices, as a share of the learning rate", at_least=0)

    def build(self, model: Model) -> OptimizerSet:
        """The optimizer over the parameters of `model`."""
        from bigtrain.training.optimizers import build_adamw

        return build_adamw(model, self)


@dataclass
class AdamConfig:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), with the paper's defaults."""

    name: str = option("adam", "the optimizer")
    lr: float = option(1e-3, "peak learning rate", above=0)
    betas: tuple[float, float] = option((0.9, 0.999), "decay of the two moments", at_least=0, below=1)
    eps: float = option(1e-8, "added to the denominator", above=0)
    weight_decay: float = option(
        0.0,
        "L2 penalty on matrices: added to the gradient, so the moments hold it too (adamw keeps them apart)",
        at_least=0,
    )

    def build(self, model: Model) -> OptimizerSet:
        """The optimizer over the parameters of `model`."""
        from bigtrain.training.optimizers import build_adam

        return build_adam(model, self)


@dataclass
class MuonConfig:
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) on the matrices of the blocks, AdamW on the rest."""

    name: str = option("muon", "the optimizer")
    lr: float = option(0.02, "peak learning rate of the hidden matrices", above=0)
    momentum: float = option(0.95, "Nesterov momentum of the hidden matrices", at_least=0, below=1)
    weight_decay: float = option(0.0, "decoupled decay of the hidden matrices", at_least=0)
    adamw_lr: float = option(3e-3, "peak learning rate of embedding, head, norms and biases", above=0)
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's moments", at_least=0, below=1)
    eps: float = option(1e-8, "AdamW's epsilon", above=0)

    def build(self, model: Model) -> OptimizerSet:
        """The optimizer over the parameters of `model`."""
        from bigtrain.training.optimizers import build_muon

        return build_muon(model, self)


@dataclass
class SGDConfig:
    """Stochastic gradient descent with momentum (Sutskever et al. 2013, proceedings.mlr.press/v28/sutskever13)."""

    name: str = option("sgd", "the optimizer")
    lr: float = option(0.1, "peak learning rate", above=0)
    momentum: float = option(0.9, "momentum", at_least=0, below=1)
    nesterov: bool = option(False, "Nesterov's form of the momentum")
    weight_decay: float = option(0.0, "L2 penalty on matrices", at_least=0)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.nesterov and not self.momentum:
            raise UserError(
                "optimizer.nesterov=true with optimizer.momentum=0",
                "Nesterov's form is one of the momentum",
                "give optimizer.momentum=0.9, or leave optimizer.nesterov out",
            )

    def build(self, model: Model) -> OptimizerSet:
        """The optimizer over the parameters of `model`."""
        from bigtrain.training.optimizers import build_sgd

        return build_sgd(model, self)


@dataclass
class AdadeltaConfig:
    """Adadelta (Zeiler 2012, arXiv 1212.5701): steps as large as the last steps were, so no rate has to be found."""

    name: str = option("adadelta", "the optimizer")
    lr: float = option(1.0, "peak of what multiplies the steps; the paper has none, which is 1", above=0)
    rho: float = option(0.95, "decay of the two mean squares", at_least=0, below=1)
    eps: float = option(1e-6, "added to both mean squares: it sets the size of the first steps", above=0)
    weight_decay: float = option(0.0, "L2 penalty on matrices", at_least=0)

    def build(self, model: Model) -> OptimizerSet:
        """The optimizer over the parameters of `model`."""
        from bigtrain.training.optimizers import build_adadelta

        return build_adadelta(model, self)


@dataclass
class AdafactorConfig:
    """Adafactor (Shazeer and Stern 2018, arXiv 1804.04235): of a matrix's second moment a row and a column are kept."""

    name: str = option("adafactor", "the optimizer")
    lr: float = option(
        0.01, "peak learning rate, as a share of a tensor's own size; 1 / sqrt(step) where that is less", above=0
    )
    weight_decay: float = option(0.0, "decoupled decay of matrices, as a share of the learning rate", at_least=0)

    def build(self, model: Model) -> OptimizerSet:
        """The optimizer over the parameters of `model`."""
        from bigtrain.training.optimizers import build_adafactor

        return build_adafactor(model, self)
