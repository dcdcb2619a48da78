"""Direct preference optimisation: loss, rewards and gradients against TRL's own trainer on the same pairs."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigtrain.data.schema import BytesConfig
from bigtrain.data.tasks.packed import Scored
from bigtrain.data.tasks.packed_pairs import PackedPairs, ScoredPair
from bigtrain.models.base import Model, materialise
from bigtrain.models.families import names_of, on_meta
from bigtrain.models.huggingface import save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.objectives.preference import Preference, reference_values
from bigtrain.tokenizer import train

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and what it imports

BETA, LONGEST, N_PAIRS = 0.3, 40, 7
TOKENIZER = train(BytesConfig(), [])


def trl() -> Any:
    """TRL, imported when it is needed: that takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("datasets", exc_type=ImportError)
        return pytest.importorskip("trl", exc_type=ImportError)


def model(architecture: Architecture, seed: int) -> Model:
    """Larger weights than a new model has: its predictions differ from token to token."""
    shape = DecoderConfig(architecture=architecture, dim=32, n_layers=2, n_heads=4, n_kv_heads=None, max_seq_len=64)
    found = materialise(on_meta(shape.resolved(TOKENIZER.vocab_size)), torch.device("cpu"), seed)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.dim() == 2:
                parameter *= 5
    return found


def pairs() -> list[ScoredPair]:
    """Prompts and answers of random lengths."""
    draw = np.random.default_rng(5)

    def conversation(prompt: Any) -> Scored:
        answer = draw.integers(0, 256, draw.integers(1, 20))
        ids = np.concatenate([prompt, answer]).astype(np.uint32)
        return Scored(ids, np.arange(len(ids)) >= len(prompt))

    prompts = [draw.integers(0, 256, draw.integers(1, 20)) for _ in range(N_PAIRS)]
    return [ScoredPair(conversation(prompt), conversation(prompt)) for prompt in prompts]


def padded(found: list[ScoredPair]) -> dict[str, torch.Tensor]:
    """As TRL's collator has them: the better answers, then the worse ones, padded on the right."""
    rows = [pair.chosen for pair in found] + [pair.rejected for pair in found]
    ids, seen = torch.zeros(len(rows), LONGEST, dtype=torch.long), torch.zeros(len(rows), LONGEST, dtype=torch.long)
    answers = torch.zeros(len(rows), LONGEST, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.from_numpy(row.ids.astype(np.int64))
        answers[number, : len(row.ids)] = torch.from_numpy(row.scored.astype(np.int64))
        seen[number, : len(row.ids)] = 1
    return {"input_ids": ids, "attention_mask": seen, "completion_mask": answers}


def trainer(folder: Path, policy: Path, reference: Path) -> Any:
    """TRL's, around two model folders."""
    library, transformers, datasets = (
        trl(),
        importlib.import_module("transformers"),
        importlib.import_module("datasets"),
    )
    ours = transformers.AutoModelForCausalLM.from_pretrained
    tokenizer = transformers.AutoTokenizer.from_pretrained(policy)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    settings = library.DPOConfig(
        output_dir=str(folder), beta=BETA, use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False
    )

    class Trainer(library.DPOTrainer):  # type: ignore[name-defined, misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # what it computes is given below

    rows = datasets.table.InMemoryTable.from_pydict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    data = datasets.Dataset(rows, fingerprint="named")  # making one up pickles half of what is imported
    return Trainer(ours(policy), ours(reference), args=settings, train_dataset=data, processing_class=tokenizer)


@pytest.mark.parametrize("architecture", [Architecture.gpt2, Architecture.qwen3])
def test_loss_rewards_and_gradients_are_those_of_trl(tmp_path: Path, architecture: Architecture) -> None:
    trl()
    policy, reference, found = model(architecture, 1), model(architecture, 2), pairs()
    for name, one in (("policy", policy), ("reference", reference)):
        (tmp_path / name).mkdir()
        save_model(tmp_path / name, one, TOKENIZER)
    theirs = trainer(tmp_path, tmp_path / "policy", tmp_path / "reference")
    theirs.model.train()
    their_loss = theirs.compute_loss(theirs.model, padded(found))
    their_loss.backward()

    rows = PackedPairs(found, LONGEST, pad_id=0)
    everything = np.arange(len(rows))
    batch = rows.batch(everything)
    with torch.no_grad():
        values = reference_values(reference, batch, measured=True)
    rows.known = {name: value.numpy() for name, value in values.items()}
    batch, objective = rows.batch(everything), Preference(BETA)
    loss = objective(policy, batch) / objective.weight(batch)
    loss.backward()
    sums = {name: value.detach().double().numpy() for name, value in objective.statistics(policy, batch).items()}
    metrics = objective.metrics(sums)

    said = {name: values[0] for name, values in theirs._metrics["train"].items() if values}
    differences = {
        "loss": abs(float(loss) - float(their_loss)),
        "margin": abs(metrics["margin"] - said["rewards/margins"]),
        "reward_chosen": abs(metrics["reward_chosen"] - said["rewards/chosen"]),
        "reward_rejected": abs(metrics["reward_rejected"] - said["rewards/rejected"]),
        "accuracy": abs(metrics["accuracy"] - said["rewards/accuracies"]),
    }
    parameters, gradients = dict(policy.named_parameters()), dict(theirs.model.named_parameters())
    largest = 0.0
    for entry in names_of(policy.config).entries(policy.config, policy.output):
        ours = entry.join([parameters[name].grad for name in entry.ours])
        wanted = gradients[entry.theirs].grad
        largest = max(largest, float(wanted.abs().max()))
        differences[entry.theirs] = float((ours - wanted).abs().max())
    assert largest > 0.1  # there is something to compare
    assert max(differences.values()) < 1e-5, differences
