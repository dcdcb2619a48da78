import errno
import json
import os
import random
import shutil

import pytest
import torch
from safetensors.torch import save_file

from bigtrain.errors import DiskFull, UserError
from bigtrain.training import checkpoint as checkpoints


def write(folder, step, seed=0):
    generator = torch.Generator().manual_seed(seed * 1000 + step)
    weights = {f"w{i}": torch.randn(20, 8, generator=generator) for i in range(3)}

    def write_model(target):
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
        (target / "config.json").write_text("{}")

    moments = {f"w{i}/exp_avg": torch.randn(20, 8, generator=generator) for i in range(3)}
    checkpoints.save(
        folder, step, write_model=write_model, optimizer=moments, counters={"step": step}, identity={"seed": seed}
    )
    return moments


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "checkpoints"
    for step in (2, 4, 6):
        write(path, step)
    return path


def test_what_is_saved_comes_back(tmp_path):
    moments = write(tmp_path, 12)
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.step, found.counters(), found.manifest["identity"]) == (12, {"step": 12}, {"seed": 0})
    assert all(tensor.equal(moments[name]) for name, tensor in found.optimizer().items())
    assert found.manifest["files"]["model/model.safetensors"]["shapes"]["w0"] == [20, 8]


def test_newest_goes_by_step_not_by_time(folder):
    write(folder, 1)
    assert checkpoints.newest(folder).step == 6


def test_a_step_that_is_saved_again_replaces_the_first(folder):
    moments = write(folder, 6, seed=3)
    found = checkpoints.newest(folder)
    assert (found.step, found.manifest["identity"]) == (6, {"seed": 3})
    assert all(tensor.equal(moments[name]) for name, tensor in found.optimizer().items())
    assert sorted(path.name for path in folder.iterdir()) == [f"step-0000000{step}" for step in (2, 4, 6)]


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_while_a_step_is_saved_again_leaves_the_first(folder, monkeypatch, renames):
    rename, done = os.rename, []

    def killed(source, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            write(folder, 6, seed=3)
    found = checkpoints.newest(folder)
    assert (found.step, found.manifest["identity"]) == (6, {"seed": 0})
    assert sorted(path.name for path in folder.iterdir()) == [f"step-0000000{step}" for step in (2, 4, 6)]


def test_a_step_that_cannot_be_saved_again_is_there_as_it_was(folder, monkeypatch):
    rename = os.rename

    def full(source, target):
        if str(source).endswith(".tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    (folder / "step-00000002.replaced").mkdir()  # that of another step: none of this one's business
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(DiskFull):
        write(folder, 6, seed=3)
    found = checkpoints.newest(folder, only_look=True)
    assert (found.step, found.manifest["identity"]) == (6, {"seed": 0})
    names = [f"step-0000000{step}" for step in (2, 4, 6)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "step-00000002.replaced"])


def test_no_checkpoints_is_a_fresh_start(tmp_path):
    assert checkpoints.newest(tmp_path / "none") is None


def damage(path, draw):
    """One random wound to one random file of a checkpoint; returns its description."""
    file = draw.choice(sorted(p for p in path.rglob("*") if p.is_file()))
    content = bytearray(file.read_bytes())
    kind = draw.choice(["flip", "cut", "grow", "zero", "delete", "swap", "foreign"])
    if kind == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    elif kind == "cut":
        file.write_bytes(content[: draw.randrange(len(content))])
    elif kind == "grow":
        file.write_bytes(content + b"\0" * draw.randint(1, 9))
    elif kind == "zero":
        start = draw.randrange(len(content))
        end = start + draw.randint(1, 64)
        if not any(content[start:end]):
            start, end = 0, len(content)
        file.write_bytes(content[:start] + bytes(len(content[start:end])) + content[end:])
    elif kind == "delete":
        file.unlink()
    else:  # the same file of another step or run
        other = path.parent / ("step-00000002" if kind == "swap" else "../foreign/step-00000006")
        shutil.copy(other / file.relative_to(path), file)
        if file.read_bytes() == content:
            file.unlink()
    return kind, file.name


def test_two_hundred_damages_none_accepted_all_reported_the_one_before_used(folder, tmp_path, caplog):
    write(tmp_path / "foreign", 6, seed=1)
    draw = random.Random(7)
    pristine = tmp_path / "pristine"
    shutil.copytree(folder, pristine)
    for _ in range(200):
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
        caplog.clear()
        wound = damage(folder / "step-00000006", draw)
        with caplog.at_level("WARNING", logger="bigtrain"):
            found = checkpoints.newest(folder)
        assert found.step == 4, wound
        assert "damaged checkpoint" in caplog.text, wound
        assert "step-00000006" in caplog.text, wound
        assert (folder / "step-00000006.damaged").is_dir(), wound
        write(folder, 6)  # the run comes by this step again
        assert checkpoints.newest(folder).step == 6


def test_when_all_are_damaged_the_run_never_starts_again_silently(folder):
    for path in folder.glob("step-*"):
        (path / "manifest.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(UserError, match="no intact checkpoint"):
            checkpoints.newest(folder)


def test_a_manifest_cannot_point_out_of_its_folder(folder):
    path = folder / "step-00000006"
    manifest = json.loads((path / "manifest.json").read_text())
    entry = manifest["body"]["files"].pop("model/config.json")
    manifest["body"]["files"]["../step-00000004/model/config.json"] = entry
    manifest["sha256"] = checkpoints._digest(manifest["body"])
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(checkpoints.Damaged, match="outside"):
        checkpoints.verify(path)


def test_prune_keeps_the_newest_and_the_best(folder):
    checkpoints.point_and_prune(folder, step=6, best_step=2, keep_last=1)
    assert (checkpoints.pointed(folder, "latest").name, checkpoints.pointed(folder, "best").name) == (
        "step-00000006",
        "step-00000002",
    )
    assert [path.name for path in checkpoints.folders(folder)] == ["step-00000006", "step-00000002"]
    assert not list(folder.glob("*.tmp"))


def test_leftovers_of_a_killed_writer_are_removed(folder):
    (folder / "step-00000008.1234abcd.tmp" / "model").mkdir(parents=True)
    assert checkpoints.newest(folder).step == 6
    assert not list(folder.glob("*.tmp"))


def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bigtrain.storage.sync_file", full)
    with pytest.raises(DiskFull):
        write(folder, 8)
    assert next(path.name for path in checkpoints.folders(folder)) == "step-00000006"
    assert not list(folder.glob("*.tmp"))


def test_disk_need_is_refused_before_the_run(tmp_path):
    with pytest.raises(DiskFull, match="GB"):
        checkpoints.require_space(tmp_path / "checkpoints", 10**13, 2)


def test_resolve_prefers_best_and_falls_back_loudly(folder, caplog):
    run = folder.parent
    checkpoints.point(folder, "latest", 6)
    assert checkpoints.resolve(run) == folder / "step-00000006" / "model"
    checkpoints.point(folder, "best", 2)
    assert checkpoints.resolve(run) == folder / "step-00000002" / "model"
    assert checkpoints.resolve(folder / "step-00000004") == folder / "step-00000004" / "model"
    (folder / "step-00000002" / "model" / "config.json").write_text("{ }")
    with caplog.at_level("WARNING", logger="bigtrain"):
        assert checkpoints.resolve(run) == folder / "step-00000006" / "model"
    assert "damaged" in caplog.text
    with pytest.raises(UserError, match="damaged"):
        checkpoints.resolve(folder / "step-00000002" / "model")


def test_resolve_takes_a_hugging_face_folder_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert checkpoints.resolve(tmp_path) == tmp_path


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["absent", "empty"])
def test_resolve_refuses_what_is_no_checkpoint(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(UserError, match="remedy"):
        checkpoints.resolve(tmp_path / "x")
