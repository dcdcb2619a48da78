"""The errors for sets that would hold nothing."""

from __future__ import annotations

from pathlib import Path

from bigtrain.data.pipeline.facts import load
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.reading.sources import no_text
from bigtrain.errors import UserError


def nothing_left(plan: Plan, documents: list[Path]) -> UserError:
    """No document is left of those in these folders."""
    stages = [load(folder).get("stages", {}) for folder in documents]
    n_read = sum(stage.get("read", {}).get("documents_out", 0) for stage in stages)
    if not n_read:
        return no_text(plan.sources)
    reasons = sorted({reason for part in stages for stage in part.values() for reason in stage.get("reasons", {})})
    return UserError(
        f"none of {n_read} documents is left: {', '.join(reasons)}",
        "a prepared set holds at least one document",
        "choose other rules, such as clean=light, or other text",
    )


def nothing_to_train_on(plan: Plan) -> UserError:
    """No document is left for the training part."""
    weights = {f"data.sources.{source.name}.weight={source.settings.weight}" for source in plan.sources}
    return UserError(
        f"{', '.join(sorted(weights))}: no document is left for training",
        "a weight below 1 keeps so large a share of a source, chosen by a hash",
        "give larger weights, or more text",
    )


def nothing_learned(between: list[str]) -> UserError:
    """A loss mask leaves nothing to learn."""
    return UserError(
        f"data.loss_between={between}: no text for training holds {between[0]!r}",
        "only what stands behind the first of the two is learned",
        "name what stands before and behind what is to be learned, as it is in the texts once they are cleaned",
    )
