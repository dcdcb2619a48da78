"""Log-probabilities of the reference: what direct computation gives, kept, verified, and never another run's."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from bigtrain.commands.tasks import reference
from bigtrain.commands.tasks.reference import ReferenceModel, computed, fingerprint, kept_or_computed, know, read, write
from bigtrain.data.schema import BytesConfig
from bigtrain.data.tasks.packed import Scored
from bigtrain.data.tasks.packed_pairs import PackedPairs, ScoredPair
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import load_model, read_config, save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import Precision
from bigtrain.tokenizer import train

TOKENIZER = train(BytesConfig(), [])
ALONE = Placement(torch.device("cpu"), Precision.fp32)


class OneOfTwo(Placement):
    """A process of two, whose sums are its own."""

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor


def packed(n: int, seed: int, seq_len: int = 40) -> PackedPairs:
    draw = random.Random(seed)

    def conversation(prompt: list[int]) -> Scored:
        ids = np.array([*prompt, *(draw.randrange(256) for _ in range(draw.randint(1, 15)))], np.uint32)
        return Scored(ids, np.arange(len(ids)) >= len(prompt))

    prompts = [[draw.randrange(256) for _ in range(draw.randint(1, 15))] for _ in range(n)]
    return PackedPairs([ScoredPair(conversation(p), conversation(p)) for p in prompts], seq_len, pad_id=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", 1)
    return tmp_path / "model"


def save(folder: Path, seed: int) -> None:
    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=2, n_heads=2, max_seq_len=64, dropout=0.3)
    model = materialise(on_meta(shape.resolved(TOKENIZER.vocab_size)), torch.device("cpu"), seed)
    save_model(folder, model, TOKENIZER)


def of(folder: Path) -> ReferenceModel:
    def find() -> Path:
        if not folder.exists():
            raise UserError(f"init_from={folder}", "there is no such folder", "name one")
        return folder

    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=2, n_heads=2, max_seq_len=64)
    return ReferenceModel(find, shape.resolved(TOKENIZER.vocab_size), TOKENIZER, seed=1, compile=False)


def test_each_answer_has_the_log_probability_that_it_has_alone(folder: Path) -> None:
    assert read_config(folder).config.vocab_size == of(folder).config.vocab_size
    rows, model = packed(40, 3), load_model(folder)
    know({"measured": rows}, computed(of(folder), {"measured": rows}, ALONE))
    batch = rows.batch(np.arange(len(rows)))
    for pair, place in zip(batch["rows"].tolist(), batch["places"].tolist(), strict=True):
        row, slot = divmod(place, rows.most)
        for side, (ids, scored) in enumerate(rows.pairs[pair]):
            tokens = torch.from_numpy(ids.astype(np.int64))[None]
            with torch.no_grad():
                alone = model.logits(model(tokens[:, :-1])).log_softmax(-1)[0].gather(1, tokens[0, 1:, None])[:, 0]
            lines = slice(2 * row, 2 * row + 2)
            found = batch["reference"][lines][batch["answers"][lines] == 2 * slot + side]
            assert torch.allclose(found, alone[torch.from_numpy(scored[1:])], atol=1e-5)
    likeliest, of_them = batch["likeliest"], batch["of_likeliest"]
    with torch.no_grad():
        whole = model.logits(model(batch["tokens"], documents=batch["documents"])).log_softmax(-1)
    assert torch.allclose(
        torch.where(batch["answers"][..., None] >= 0, whole.gather(2, likeliest.long()), 0.0), of_them, atol=1e-5
    )


@pytest.mark.parametrize("n", [1, 40, 150])
def test_what_two_processes_compute_is_what_one_does(folder: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_TOKENS_AT_ONCE", 400)  # several batches
    parts = {"training": packed(n, 3), "validation": packed(5, 4)}
    one = computed(of(folder), parts, ALONE)
    shares = [computed(of(folder), parts, OneOfTwo(ALONE.device, ALONE.precision, rank, 2)) for rank in (0, 1)]
    for name, values in one.items():
        assert np.array_equal(shares[0][name] + shares[1][name], values)
        assert "likeliest" in name or (values < 0).all()
    assert {*one} == {f"{part}.reference" for part in parts} | {"validation.likeliest", "validation.of_likeliest"}


def test_values_are_computed_once_and_damage_is_seen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(reference, "computed", lambda *given: calls.append(1) or computed(*given))
    file = tmp_path / "reference.safetensors"

    def ask(*, begun: bool, n: int = 40, setting: str = "cpu fp32") -> tuple[int, np.ndarray]:
        """How often the values have been computed by now, and what they are."""
        rows = packed(n, 3)
        kept_or_computed(file, of(folder), {"training": rows}, ALONE, setting=setting, begun=begun)
        return len(calls), rows.known["reference"]

    _, first = ask(begun=False)
    whole = file.read_bytes()
    for begun in (False, True):
        assert np.array_equal(ask(begun=begun)[1], first)
    assert len(calls) == 1

    assert ask(begun=True, n=30)[0] == 2  # other pairs, and the weights are known to be the same
    assert ask(begun=True, n=30, setting="cpu bf16")[0] == 3
    draw = random.Random(1)
    for place in [len(whole) - 3, *(draw.randrange(len(whole)) for _ in range(30))]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
        n_before = len(calls)
        try:
            n_calls, values = ask(begun=True)
        except UserError as error:
            assert "damaged" in str(error)  # noqa: PT017
        else:
            assert n_calls == n_before + 1
            assert np.array_equal(values, first)
            assert file.read_bytes() == whole
    file.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="damaged"):
        ask(begun=True)
    file.unlink()
    with pytest.raises(UserError, match="missing"):
        ask(begun=True)
    ask(begun=False)
    save(folder, 2)  # the model is another one now
    assert np.array_equal(ask(begun=True)[1], first)
    with pytest.raises(UserError, match="not known to be the same"):
        ask(begun=True, n=30)
    shutil.rmtree(folder)
    assert np.array_equal(ask(begun=True)[1], first)
    with pytest.raises(UserError, match="these weights are gone"):
        ask(begun=True, n=30)


def test_a_run_that_has_no_checkpoint_yet_takes_the_weights_that_are_there(folder: Path, tmp_path: Path) -> None:
    file, rows = tmp_path / "reference.safetensors", packed(20, 3)
    for seed in (1, 2):
        save(folder, seed)
        kept_or_computed(file, of(folder), {"training": rows}, ALONE, setting="", begun=False)
        [fresh] = computed(of(folder), {"training": rows}, ALONE).values()
        assert np.array_equal(load_file(file)["training.reference"], fresh)


def test_the_fingerprint_tells_pairs_and_settings_apart() -> None:
    prints = {
        fingerprint({"training": packed(n, seed, seq_len)}, setting)
        for n, seed, seq_len, setting in [
            (9, 1, 40, "a"),
            (9, 2, 40, "a"),
            (8, 1, 40, "a"),
            (9, 1, 41, "a"),
            (9, 1, 40, "b"),
        ]
    }
    assert len(prints) == 5
    assert fingerprint({"training": packed(9, 1)}, "a") in prints


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values = {"training": np.array([-1.5, -0.25], np.float32), "validation": np.zeros(0, np.float32)}
    write(tmp_path / "file", values, "weights", "pairs")
    kept = read(tmp_path / "file")
    assert (kept.weights, kept.pairs, kept.damage) == ("weights", "pairs", "")
    for name, value in values.items():
        assert np.array_equal(kept.values[name], value)
