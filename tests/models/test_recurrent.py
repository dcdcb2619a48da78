"""The recurrent family against cells that are stepped one token at a time, and its files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from outputs import OUTPUTS
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.generation import beams, choices
from bigtrain.generation.cache import KVCache
from bigtrain.generation.generate import generate
from bigtrain.generation.sampling import Sampling
from bigtrain.models.base import materialise
from bigtrain.models.huggingface import load_model, materialise_from, read_config, save_model
from bigtrain.models.huggingface_keys import read_json
from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.models.recurrent import Layer, Recurrent
from bigtrain.models.recurrent_schema import RecurrentArchitecture, RecurrentConfig
from bigtrain.storage import write_json
from bigtrain.tokenizer import train

each = pytest.mark.parametrize("cells", ["bigtrain_gru", "bigtrain_lstm"])


def recurrent(cells: str, output: Output = LANGUAGE, **fields: Any) -> Recurrent:
    """Random weights, larger than at the start of training; biases too."""
    sizes = {"dim": 7, "hidden_dim": 10, "n_layers": 2, "max_seq_len": 40, **fields}
    config = RecurrentConfig(architecture=RecurrentArchitecture(cells), **sizes)
    config.check()
    model = Recurrent.on_meta(config.resolved(257), output)
    materialise(model, torch.device("cpu"), 0)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(noise, alpha=0.3)
    return model.eval()


def draw(*shape: int) -> Tensor:
    return torch.randint(0, 257, shape, generator=torch.Generator().manual_seed(1))


def by_hand(model: Recurrent, row: Tensor) -> Tensor:
    """(T,) -> (T, H): one token after the other, by the equations of the papers in torch's form."""
    states = [(torch.zeros(10), torch.zeros(10)) for _ in model.blocks]
    found = []
    for token in row:
        x = model.embedding.weight[token]
        for number, layer in enumerate(model.blocks):
            assert isinstance(layer, Layer)
            w_ih, w_hh, b_ih, b_hh = (parameter for parameter in layer.cells.parameters())
            h, c = states[number]
            given, kept = w_ih @ x + b_ih, w_hh @ h + b_hh
            if isinstance(layer.cells, nn.GRU):
                (r, z), n = (given + kept)[:20].sigmoid().view(2, 10), given[20:]
                h = (1 - z) * (n + r * kept[20:]).tanh() + z * h
            else:
                i, f, g, o = (given + kept).view(4, 10)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            states[number], x = (h, c), h
        found.append(x)
    return torch.stack(found)


@each
def test_the_numbers_are_those_of_the_equations(cells: str) -> None:
    model, tokens = recurrent(cells), draw(3, 13)
    hidden = model(tokens)
    for row, found in zip(tokens, hidden, strict=True):
        assert torch.allclose(found, by_hand(model, row), atol=1e-6)
    assert torch.allclose(model.logits(hidden), hidden @ model.head.weight.T + model.head.bias, atol=1e-6)


@each
def test_documents_begin_with_an_empty_state(cells: str) -> None:
    model, tokens = recurrent(cells), draw(2, 9)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [3] * 9], dtype=torch.int32)
    hidden = model(tokens, documents=documents)
    for row, part in ((0, slice(0, 3)), (0, slice(3, 7)), (0, slice(7, 9)), (1, slice(0, 9))):
        assert torch.allclose(hidden[row, part], model(tokens[row : row + 1, part])[0], atol=1e-6)


class Written(TorchDispatchMode):
    """Counts the numbers of all tensors that come out of operators."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.n += sum(one.numel() for one in tree_leaves(out) if isinstance(one, Tensor))
        return out


def test_gradients_of_many_documents_are_not_each_as_large_as_all_of_them() -> None:
    model = recurrent("bigtrain_gru", dim=32, hidden_dim=32, n_layers=1, max_seq_len=64)
    documents = torch.arange(64).expand(4, -1).clone()
    documents[0] = 0  # one is long: the others were filled up to its length, and cut out of that one by one
    with Written() as written:
        model(draw(4, 64), documents=documents).sum().backward()
    assert written.n < 2e7  # it was 1.7e8


@each
def test_dropout_is_keyed_by_the_row(cells: str) -> None:
    model, tokens = recurrent(cells, dropout=0.4), draw(1, 9).expand(3, -1)
    hidden = model(tokens, keys=torch.tensor([1, 2, 1]))
    assert torch.allclose(hidden[0], hidden[2], atol=1e-6)
    assert not torch.allclose(hidden[0], hidden[1])
    assert torch.allclose(model(tokens[:1], keys=torch.tensor([2])), hidden[1:2], atol=1e-6)
    assert torch.allclose(model(tokens)[0], model(tokens)[1], atol=1e-6)


@each
def test_carried_tokens_bring_their_state_and_no_gradient(cells: str) -> None:
    model, tokens = recurrent(cells, carry_tokens=4), draw(2, 11)
    assert model.carried == 4
    expected = model(tokens)
    model.train()
    hidden = model(tokens)
    assert torch.allclose(hidden, expected, atol=1e-6)
    hidden[:, 4:].sum().backward()
    seen = model.embedding.weight.grad
    assert seen is not None
    only_before = set(tokens[:, :4].flatten().tolist()) - set(tokens[:, 4:].flatten().tolist())
    assert only_before
    assert seen[sorted(only_before)].abs().max() == 0
    assert seen[tokens[0, 5]].abs().max() > 0
    with pytest.raises(UserError, match=r"4 tokens with model\.carry_tokens=4"):
        model(tokens[:, :4])
    with pytest.raises(UserError, match=r"model\.carry_tokens=40 with model\.max_seq_len=40"):
        recurrent(cells, carry_tokens=40)


@each
def test_a_state_goes_on_from_a_cache(cells: str) -> None:
    model, tokens = recurrent(cells), draw(2, 9)
    cache = KVCache(2, 9)
    parts = [model(tokens[:, start:end], cache=cache) for start, end in ((0, 4), (4, 5), (5, 9))]
    assert torch.allclose(torch.cat(parts, 1), model(tokens), atol=1e-6)
    assert cache.lengths == [9, 9]


@each
def test_generation_is_that_of_the_whole_text_each_time(cells: str) -> None:
    """Prompts of different lengths, some of them alike, more than fit into a batch."""
    model, tokenizer = recurrent(cells), train(BytesConfig(), [])
    prompts = [draw(n).tolist() for n in (3, 9, 1, 9, 12, 4)]
    greedy = Sampling(temperature=0)
    done = generate(model, prompts, tokenizer=tokenizer, max_new_tokens=8, sampling=greedy)
    for prompt, completion in zip(prompts, done, strict=True):
        row = list(prompt)
        for token in completion.tokens:
            logits = model.logits(model(torch.tensor([row]))[0, -1])[: tokenizer.vocab_size]
            assert int(logits.argmax()) == token
            row.append(token)
    one = generate(model, prompts[:1], tokenizer=tokenizer, max_new_tokens=40)[0]
    assert len(one.tokens) <= 40 - 3 + 1


@each
def test_beams_and_choices_carry_the_state_too(cells: str) -> None:
    model, tokenizer = recurrent(cells), train(BytesConfig(), [])
    prompt = draw(5).tolist()
    best = beams.search(model, prompt, tokenizer, beams=3, n=1, max_new_tokens=6, logprobs=True)[0]

    def logprobs(ids: list[int]) -> Tensor:
        rows = model.logits(model(torch.tensor([prompt + ids]))[0])[:, : tokenizer.vocab_size].log_softmax(-1)
        return rows[4:-1].gather(1, torch.tensor(ids)[:, None])[:, 0]

    assert best.logprobs == pytest.approx(logprobs(best.tokens).tolist(), abs=1e-5)
    texts = [("a", [97]), ("abc", [97, 98, 99])]
    found = choices.score(model, prompt, texts, vocab_size=tokenizer.vocab_size, batch_size=4)
    for (_, ids), choice in zip(texts, found, strict=True):
        assert choice.logprob == pytest.approx(float(logprobs(ids).detach().sum()), abs=1e-5)


@each
@pytest.mark.parametrize("output", OUTPUTS, ids=str)
def test_what_is_saved_is_read(cells: str, output: Output, tmp_path: Path) -> None:
    model = recurrent(cells, output=output, dropout=0.2, carry_tokens=5)
    save_model(tmp_path, model, train(BytesConfig(), []))
    content = read_json(tmp_path / "config.json")
    assert content["model_type"] == cells
    assert "auto_map" not in content
    source = read_config(tmp_path)
    assert source.config == model.config
    assert source.output == output
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert load_file(tmp_path / "model.safetensors").keys() == {name for name, _ in model.named_parameters()}


@each
def test_a_language_model_becomes_a_classifier(cells: str, tmp_path: Path) -> None:
    model = recurrent(cells)
    save_model(tmp_path, model, train(BytesConfig(), []))
    one = load_model(tmp_path, output=Output(OutputKind.label, ("a", "b")), seed=1)
    assert one.get_parameter("head.weight").shape == (2, 10)
    assert torch.equal(one.embedding.weight, model.embedding.weight)  # type: ignore[union-attr]
    assert one.carried == 0


@each
def test_rows_move_with_their_tokens(cells: str, tmp_path: Path) -> None:
    from bigtrain.data.schema import CharsConfig

    old, new = train(CharsConfig(), ["abc"]), train(CharsConfig(), ["bcd" * 9])
    model = recurrent(cells, vocab_size=8)
    save_model(tmp_path, model, old)
    wider = Recurrent.on_meta(RecurrentConfig(**{**vars(model.config), "vocab_size": 16}))
    materialise_from(tmp_path, wider, torch.device("cpu"), 0, tokenizer=new)
    before, after = (t.backend.get_vocab(with_added_tokens=True) for t in (old, new))
    for name in ("embedding.weight", "head.weight", "head.bias"):
        for token in "bc":
            assert torch.equal(wider.get_parameter(name)[after[token]], model.get_parameter(name)[before[token]])


def test_a_shape_that_cannot_be_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, recurrent("bigtrain_gru"), train(BytesConfig(), []))
    content = json.loads((tmp_path / "config.json").read_text())
    for changes, words in (({"hidden_size": -1}, "hidden_size"), ({"carry_tokens": 99}, "carry_tokens=99")):
        write_json(tmp_path / "config.json", {**content, **changes})
        with pytest.raises(UserError, match=words):
            read_config(tmp_path)


@each
def test_initial_weights(cells: str) -> None:
    config = RecurrentConfig(architecture=RecurrentArchitecture(cells), dim=64, hidden_dim=96, n_layers=2)
    model = materialise(Recurrent.on_meta(config.resolved(500)), torch.device("cpu"), 4)
    assert model.get_parameter("blocks.1.cells.weight_hh_l0").std().item() == pytest.approx(96**-0.5, rel=0.05)
    assert model.get_parameter("blocks.0.cells.weight_ih_l0").std().item() == pytest.approx(64**-0.5, rel=0.05)
    forget = model.get_parameter("blocks.0.cells.bias_ih_l0").view(-1, 96).mean(1).tolist()
    assert forget == ([0, 0, 0] if cells == "bigtrain_gru" else [0, 1, 0, 0])
    gates = 3 if cells == "bigtrain_gru" else 4
    n = gates * 96 * (64 + 96 + 96 + 96) + 2 * 2 * gates * 96 + 512 * 96 + 512
    assert model.flops_per_token(7) == 6 * n
