"""Adapters against Hugging Face's PEFT: what we write it reads, what it writes we read, and both learn alike."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from encoders import encoder, wordpiece
from generation.tiny_models import decoder

from bigtrain.models.adapter_files import trained_whole
from bigtrain.models.adapter_folder import digest
from bigtrain.models.adapter_schema import DoraConfig, LoraConfig
from bigtrain.models.adapters import Adapter, adapt, adapted_layers
from bigtrain.models.base import Model
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import load_model, materialise_from, read_config, save_model
from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.objectives.causal import Causal
from bigtrain.training.schema import AdamWConfig

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers", "ignore::UserWarning:peft")

LABEL = Output(OutputKind.label, ("bad", "good", "so so"))
TAGS = Output(OutputKind.tags, ("O", "B"))
SPAN = Output(OutputKind.span)
AUTO = {
    OutputKind.tokens: "AutoModelForCausalLM",
    OutputKind.label: "AutoModelForSequenceClassification",
    OutputKind.tags: "AutoModelForTokenClassification",
    OutputKind.span: "AutoModelForQuestionAnswering",
}
QUERIES_VALUES = ["attention.q", "attention.v"]
RSLORA = LoraConfig(rank=3, alpha=5, rank_stabilised=True)


def base_folder(folder: Path, architecture: str, output: Output = LANGUAGE) -> Path:
    folder.mkdir()
    is_encoder = architecture in ("bert", "roberta")
    model = encoder(architecture, output) if is_encoder else decoder(architecture, output, vocab_size=64)
    save_model(folder, model, wordpiece())
    return folder


def adapted(base: Path, config: LoraConfig, output: Output | None = None) -> Model:
    """A model of the base with an adapter that has learned: A, B, lengths and what is trained whole are moved."""
    source = read_config(base)
    model = on_meta(source.config, output or source.output)
    adapt(model, Adapter(config, base, digest(base), trained_whole(base, model, moved=False, folder=base)))
    materialise_from(base, model, torch.device("cpu"), 5)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    return model


def saved(folder: Path, model: Model) -> Path:
    folder.mkdir()
    save_model(folder, model, wordpiece())
    return folder


def ours(model: Model, tokens: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        hidden = model(tokens)
        if model.output.pooled:
            hidden = hidden[:, -1] if model.causal else hidden[:, 0]
        return model.logits(hidden)


def theirs(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out = model.eval()(tokens)
    return torch.stack([out.start_logits, out.end_logits], -1) if "start_logits" in out else out.logits


def auto(base: Path, output: Output, causal: bool) -> Any:
    name = AUTO[output.kind] if causal or not output.language else "AutoModelForMaskedLM"
    extra = {} if output.language or output.kind is OutputKind.span else {"num_labels": len(output.labels)}
    extra |= {"pad_token_id": 0} if output.pooled else {}
    return getattr(transformers, name).from_pretrained(base, **extra)


TOKENS = torch.randint(5, 55, (3, 12), generator=torch.Generator().manual_seed(0))
CASES = [
    *(
        (name, LoraConfig(rank=4), LANGUAGE)
        for name in ("llama", "gpt2", "qwen2", "qwen3", "mistral", "bert", "roberta")
    ),
    *((name, DoraConfig(rank=2, targets=QUERIES_VALUES), LANGUAGE) for name in ("llama", "gpt2", "bert")),
    *((name, RSLORA, LABEL) for name in ("llama", "gpt2", "bert", "roberta")),
    *((name, LoraConfig(targets=["blocks.1.*", "attention.k"]), TAGS) for name in ("qwen2", "gpt2", "bert")),
    *((name, DoraConfig(targets=["mlp", "attention.o"]), SPAN) for name in ("llama", "gpt2", "roberta")),
]


@pytest.mark.parametrize(("architecture", "config", "output"), CASES)
def test_what_we_write_peft_reads(tmp_path: Path, architecture: str, config: LoraConfig, output: Output) -> None:
    # transformers' question answering on Llama does not know the weights of a language model: other names.
    base = base_folder(tmp_path / "base", architecture, SPAN if output is SPAN else LANGUAGE)
    model = adapted(base, config, output)
    expected = ours(model, TOKENS)
    folder = saved(tmp_path / "adapter", model)
    assert (expected - ours(load_model(base, output=output), TOKENS)).abs().max() > 1e-2
    wrapped = peft.PeftModel.from_pretrained(auto(base, output, model.causal), folder)
    torch.testing.assert_close(theirs(wrapped, TOKENS), expected, rtol=1e-5, atol=1e-5)

    again = load_model(folder)  # merged
    assert (again.output, adapted_layers(again)) == (output, {})
    torch.testing.assert_close(ours(again, TOKENS), expected, rtol=1e-5, atol=1e-5)
    opened = auto(saved(tmp_path / "merged", again), output, model.causal)
    torch.testing.assert_close(theirs(opened, TOKENS), expected, rtol=1e-5, atol=1e-5)

    further = on_meta(model.config, output)
    adapt(further, Adapter(config, base, digest(base), trained_whole(base, further, moved=False, folder=folder)))
    materialise_from(folder, further, torch.device("cpu"), 9)
    for (name, mine), (_, other) in zip(model.named_parameters(), further.named_parameters(), strict=True):
        assert torch.equal(mine, other), name
        assert mine.requires_grad == other.requires_grad, name


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_transformers_opens_the_folder_itself(tmp_path: Path, architecture: str) -> None:
    base = base_folder(tmp_path / "base", architecture)
    model = adapted(base, LoraConfig(rank=4))
    folder = saved(tmp_path / "adapter", model)
    opened = transformers.AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(theirs(opened, TOKENS), ours(model, TOKENS), rtol=1e-5, atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("a text", add_special_tokens=False).input_ids == wordpiece().encode("a text")


THEIRS = {
    "llama": {"target_modules": ["q_proj", "down_proj"]},
    "gpt2": {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
    "bert": {"target_modules": ["query", "output.dense"]},
}


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True, "rank_pattern": {"0.*": 5}}])
@pytest.mark.parametrize("architecture", THEIRS)
@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS"])
def test_what_peft_writes_we_read(tmp_path: Path, architecture: str, task: str, options: dict[str, Any]) -> None:
    base = base_folder(tmp_path / "base", architecture)
    output = LANGUAGE if task == "CAUSAL_LM" else Output.numbered(4)
    if architecture == "bert" and output.language:
        options, task = {**options, "modules_to_save": ["cls"]}, None  # type: ignore[assignment]
    if task == "SEQ_CLS" and architecture == "bert":
        options = {**options, "modules_to_save": ["pooler", "classifier"]}  # of which the base has none
    lora = peft.LoraConfig(
        task_type=task, r=3, lora_alpha=7, init_lora_weights=False, **THEIRS[architecture], **options
    )
    wrapped = peft.get_peft_model(auto(base, output, architecture != "bert"), lora)
    folder = tmp_path / "adapter"
    wrapped.save_pretrained(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    model = load_model(folder)
    assert model.output.kind is output.kind
    assert len(model.output.labels) == len(output.labels)
    torch.testing.assert_close(ours(model, TOKENS), theirs(wrapped, TOKENS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [LoraConfig(rank=4), DoraConfig(rank=4, rank_stabilised=True)])
def test_the_same_loss_for_fifty_steps(tmp_path: Path, config: LoraConfig) -> None:
    """Same model, same initial A, same rows in the same order, AdamW in fp32."""
    base = base_folder(tmp_path / "base", "llama")
    model = on_meta(read_config(base).config)
    adapt(model, Adapter(config, base, digest(base), frozenset()))
    materialise_from(base, model, torch.device("cpu"), 5)
    wrapped = peft.PeftModel.from_pretrained(
        auto(base, LANGUAGE, True), saved(tmp_path / "new", model), is_trainable=True
    )
    wrapped.train()
    optimizer = AdamWConfig(lr=3e-3, weight_decay=0.01, betas=(0.9, 0.99)).build(model)
    decayed = [p for p in wrapped.parameters() if p.requires_grad and p.dim() == 2]
    lengths = [p for p in wrapped.parameters() if p.requires_grad and p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": lengths, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.99))
    draw, objective, differences, first = torch.Generator().manual_seed(2), Causal(), [], 0.0
    data = torch.randint(5, 55, (5, 4, 25), generator=draw)
    for step in range(50):
        rows = data[step % 5]
        batch = {"tokens": rows[:, :-1], "targets": rows[:, 1:], "keys": torch.arange(4)}
        loss = objective(model, batch) / objective.weight(batch)
        loss.backward()
        optimizer.step()
        logits = wrapped(rows[:, :-1]).logits
        other = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        other.backward()
        reference.step()
        reference.zero_grad()
        differences.append(abs(loss.item() - other.item()))
        first = first or loss.item()
    assert loss.item() < first - 0.1
    assert max(differences) < 1e-4
