"""Preferring one answer to another: direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.data.tasks.packed_pairs import LINES
from bigtrain.models.base import Model
from bigtrain.models.layers import fold

N_LIKELIEST = 16  # tokens of each prediction of the reference that are kept for `kl`
_NOTHING = 1e-7  # probability below which fp32 does not tell the rest of a prediction from nothing


def log_probabilities(model: Model, hidden: Tensor, targets: Tensor) -> Tensor:
    """(R, T), fp32, from hidden states (R, T, D): log-probabilities of targets (R, T); 0 where there is none."""
    logits = model.logits(hidden).flatten(0, -2).float()
    nats = F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="none")
    return 0.0 - nats.view(targets.shape)


def answer_logits(model: Model, batch: Batch) -> Tensor:
    """(n, V), fp32, without dropout: the predictions of the answer tokens of a batch of `PackedPairs`, line by line."""
    hidden = model(batch["tokens"], documents=batch["documents"])
    return model.logits(hidden[batch["targets"] != IGNORED]).float()


def reference_values(model: Model, batch: Batch, *, measured: bool) -> dict[str, Tensor]:
    """What rewards, and with `measured` metrics, need of the reference: for the answer tokens of a batch, line by line.

    reference (n,): their log-probabilities. likeliest (n, k) int32: the tokens that are likeliest in their places.
    of_likeliest (n, k): the log-probabilities of these.
    """
    logits = answer_logits(model, batch)
    values = {"reference": _of_answers(logits, batch)}
    if measured:
        found, tokens = logits.topk(min(N_LIKELIEST, logits.shape[1]))
        values |= {"likeliest": tokens.int(), "of_likeliest": found - logits.logsumexp(-1, keepdim=True)}
    return values


def _of_answers(logits: Tensor, batch: Batch) -> Tensor:
    targets = batch["targets"]
    return 0.0 - F.cross_entropy(logits, targets[targets != IGNORED], reduction="none")


def log_ratios(found: Tensor, batch: Batch) -> Tensor:
    """(M, 2): log pi(answer) - log pi_ref(answer) of the better and the worse answer of each pair of a batch.

    found: (2 N, T) log-probabilities under the model.
    """
    ratios = (found - batch["reference"]).view(len(found) // LINES, -1, 1)  # (N, 2 T, 1)
    answers = batch["answers"].view(ratios.shape)
    # Summed under a mask: adding up by index has no fixed order on a GPU.
    sums = torch.where(answers == batch["slots"], ratios, 0.0).sum(1)  # (N, 2 P)
    return sums.view(-1, 2)[batch["places"]]


def divergence(found: Tensor, reference: Tensor) -> Tensor:
    """(n,), float64: a lower bound of KL(pi || pi_ref), from log-probabilities (n, k) of some tokens under both.

    It is the divergence of "one of these tokens, or any other one": by the data processing inequality no larger than
    that of the whole distributions, never negative, and 0 where they agree.
    """
    p, q = found.double(), reference.double()
    other_p, other_q = ((1 - x.exp().sum(-1)).clamp(min=_NOTHING) for x in (p, q))
    bound = (p.exp() * (p - q)).sum(-1) + other_p * (other_p / other_q).log()
    return bound.clamp(min=0)


class Preference:
    """Make the better answer of a pair likelier, and the worse one less likely, against the model that one starts from.

    The loss of a pair is -log sigmoid(reward_chosen - reward_rejected), where the reward of an answer is
    beta (log pi(answer) - log pi_ref(answer)), the logarithms summed over its tokens.
    """

    metric_names: tuple[str, ...] = ("loss", "accuracy", "margin", "reward_chosen", "reward_rejected", "kl")
    higher_is_better = frozenset({"accuracy", "margin", "reward_chosen"})
    per_row: frozenset[str] = frozenset({"rewards"})

    def __init__(self, beta: float, *, compile: bool = False) -> None:
        self.beta = beta
        self.head = torch.compile(log_probabilities, dynamic=False) if compile else log_probabilities

    def weight(self, batch: Batch) -> float:
        """Pairs."""
        return float(len(batch["rows"]))

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """The loss of the pairs."""
        keys = batch.get("keys")
        if keys is not None:  # of a row; each of its lines has a mask of its own
            keys = torch.stack([fold(keys, line) for line in range(LINES)], 1).flatten()
        hidden = model(batch["tokens"], documents=batch["documents"], keys=keys)
        return self._loss(self.beta * log_ratios(self.head(model, hidden, batch["targets"]), batch))

    def _loss(self, rewards: Tensor) -> Tensor:
        """Summed; rewards (M, 2)."""
        return -F.logsigmoid(rewards[:, 0] - rewards[:, 1]).sum()

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Sums of what `metrics` divides; of each pair its two rewards."""
        logits, scored = answer_logits(model, batch), batch["targets"] != IGNORED
        found = torch.zeros_like(batch["reference"])
        found[scored] = _of_answers(logits, batch)
        rewards = self.beta * log_ratios(found, batch)
        likeliest = logits.gather(1, batch["likeliest"][scored].long()) - logits.logsumexp(-1, keepdim=True)
        return {
            "loss": self._loss(rewards),
            "weight": torch.tensor(len(rewards)),
            "preferred": (rewards[:, 0] > rewards[:, 1]).sum(),
            "rewarded": rewards.sum(0),
            "divergence": divergence(likeliest, batch["of_likeliest"][scored]).sum(),
            "tokens": scored.sum(),
            "rewards": rewards,
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Means over pairs, and of `divergence` over the tokens of all answers, in nats."""
        pairs = sums["weight"]
        chosen, rejected = (float(total / pairs) for total in sums["rewarded"])
        return {
            "loss": float(sums["loss"] / pairs),
            "accuracy": float(sums["preferred"] / pairs),
            "margin": chosen - rejected,
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "kl": float(sums["divergence"] / sums["tokens"]),
        }
