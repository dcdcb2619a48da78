"""The loop as a run shows it: what it writes, when it ends, what it refuses to save."""

import json

import pytest
import torch
from harness import TINY, metrics, run_verb
from safetensors.torch import load_file

from bigtrain.errors import Diverged, UserError

RUN = [*TINY, "train.max_steps=8", "train.save_every_steps=4", "train.eval_every_steps=4", "device.precision=fp32"]


def pretrain(prepared_set, run, *words):
    return run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={run}", *words])


def test_a_run_learns_and_leaves_its_folder(prepared_set, tmp_path):
    run = tmp_path / "run"
    result = pretrain(prepared_set, run, "train.max_steps=40", "optimizer=muon", "train.sample_prompts=[the cat]")
    lines = metrics(run)
    validation = [line for line in lines if line["split"] == "validation"]
    assert validation[-1]["loss"] < 0.8 * validation[0]["loss"]
    assert [line["step"] for line in validation] == list(range(0, 41, 4))
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 41))
    assert result["val_loss"] == validation[-1]["loss"]
    assert result["best_val_loss"] == min(line["loss"] for line in validation[1:])
    assert (result["step"], result["tokens"], result["stopped_by"]) == (40, 40 * 8 * 32, "max_steps")
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.yaml", "overrides.yaml", "environment.json", "log.txt", "metrics.jsonl", "status.json"}
    assert names >= {"result.json", "report.html", "samples.jsonl", "checkpoints"}
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert {sample["step"] for sample in samples} == set(range(0, 41, 4))


def test_accumulated_gradients_equal_those_of_the_whole_batch(prepared_set, tmp_path):
    losses = []
    for rows in (8, 4, 1):
        pretrain(prepared_set, tmp_path / str(rows), f"train.micro_batch_rows={rows}", "model.dropout=0.2")
        losses.append([line["loss"] for line in metrics(tmp_path / str(rows))])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_dropout_changes_training_and_not_evaluation(prepared_set, tmp_path):
    pretrain(prepared_set, tmp_path / "a", "model.dropout=0.5", "train.max_steps=1")
    pretrain(prepared_set, tmp_path / "b", "model.dropout=0.0", "train.max_steps=1")
    a, b = metrics(tmp_path / "a"), metrics(tmp_path / "b")
    assert a[0]["loss"] == b[0]["loss"]  # evaluation before the first step
    assert a[1]["loss"] != b[1]["loss"]


@pytest.mark.parametrize("step", [1, 2, 5, 8])
def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(prepared_set, tmp_path, monkeypatch, step):
    from bigtrain.objectives.causal import Causal

    original, calls = Causal.__call__, [0]

    def poisoned(self, model, batch):
        calls[0] += 1
        loss = original(self, model, batch)
        return loss * float("nan") if calls[0] == step else loss

    monkeypatch.setattr(Causal, "__call__", poisoned)
    run = tmp_path / "run"
    with pytest.raises(Diverged, match=f"step {step}:"):
        pretrain(prepared_set, run)
    assert json.loads((run / "status.json").read_text())["state"] == "diverged"
    report = (run / "report.html").read_text()
    assert f"diverged: the loss or its gradient is not finite in step {step}:" in report
    assert "validation loss" in report  # the last one
    for file in run.rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values() if tensor.is_floating_point())
    assert len(list(run.glob("checkpoints/step-*"))) == (step > 4)
    monkeypatch.setattr(Causal, "__call__", original)
    assert pretrain(prepared_set, run)["step"] == 8


def test_early_stop_when_nothing_gets_better(prepared_set, tmp_path):
    words = ["train.patience_evals=2", "train.eval_every_steps=2", "optimizer.lr=1e-12", "train.max_steps=50"]
    result = pretrain(prepared_set, tmp_path / "run", *words)
    assert result["stopped_by"] == "patience"
    assert result["step"] < 50
    again = pretrain(prepared_set, tmp_path / "run", *words)
    assert again == result


def test_the_best_checkpoint_outlives_the_last_ones(prepared_set, tmp_path):
    run = tmp_path / "run"
    pretrain(
        prepared_set, run, "train.keep_last=1", "train.eval_every_steps=2", "train.max_steps=12", "optimizer.lr=0.05"
    )
    kept = {path.name for path in run.glob("checkpoints/step-*")}
    best, latest = ((run / "checkpoints" / name).read_text().strip() for name in ("best", "latest"))
    assert kept == {best, latest}
    validation = {line["step"]: line["loss"] for line in metrics(run) if line["split"] == "validation" and line["step"]}
    assert best == f"step-{min(validation, key=validation.get):08d}"
    assert latest == "step-00000012"


def test_minutes_end_a_run_in_time(prepared_set, tmp_path):
    words = [
        "train.max_steps=null",
        "train.max_minutes=0.06",
        "schedule=wsd",
        "schedule.warmup_steps=16",
        "train.eval_every_steps=null",
    ]
    result = pretrain(prepared_set, tmp_path / "run", *words, "train.save_every_steps=null")
    assert result["stopped_by"] == "max_minutes"
    assert result["step"] > 16
    assert result["seconds"] < 1.5 * 3.6
    lines = [line for line in metrics(tmp_path / "run") if line["split"] == "train"]
    assert len(lines) == result["step"]
    if result["seconds"] < 1.05 * 3.6:  # the plan held: on a busy machine the hard stop may come first
        assert lines[-1]["lr"] < 0.5 * max(line["lr"] for line in lines)  # the schedule knew its end


def test_documents_can_be_isolated(prepared_set, tmp_path):
    pretrain(prepared_set, tmp_path / "a", "train.isolate_documents=true")
    pretrain(prepared_set, tmp_path / "b", "train.isolate_documents=false")
    assert metrics(tmp_path / "a")[-1]["loss"] != metrics(tmp_path / "b")[-1]["loss"]


def test_compiled_and_eager_agree(prepared_set, tmp_path):
    pretrain(prepared_set, tmp_path / "eager", "train.max_steps=3")
    pretrain(prepared_set, tmp_path / "compiled", "train.max_steps=3", "device.compile=true")
    torch._dynamo.reset()
    for a, b in zip(metrics(tmp_path / "eager"), metrics(tmp_path / "compiled"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train.seq_len=64"], "train.seq_len=32"),
        (["train.batch_rows=null", "train.batch_tokens=100"], "train.batch_tokens=96"),
        (["train.micro_batch_rows=3"], "divisor of 8"),
        (["model.vocab_size=100"], "model.vocab_size=257"),
        (["train.metric=bleu"], "loss"),
    ],
)
def test_what_cannot_be_trained_is_refused(prepared_set, tmp_path, words, named):
    with pytest.raises(UserError, match=named):
        pretrain(prepared_set, tmp_path / "run", *words)


def test_a_step_is_what_plain_torch_would_do(prepared_set, tmp_path):
    """Loss, gradient norm and clipped update of the first step, written out by hand."""
    from bigtrain.data.loader import Loader, Windows
    from bigtrain.data.shards import PreparedSet
    from bigtrain.models.huggingface import load_model

    words = ["train.max_steps=1", "train.clip_norm=0.5", "optimizer=sgd", "optimizer.lr=0.3", "optimizer.momentum=0"]
    words += ["schedule.warmup_steps=0", "train.micro_batch_rows=2", "train.save_every_steps=1"]
    pretrain(prepared_set, tmp_path / "run", *words)
    line = next(line for line in metrics(tmp_path / "run") if line["split"] == "train")
    after = load_model(tmp_path / "run" / "checkpoints" / "step-00000001" / "model")

    model = type(after)(after.config)
    model.init_weights(1337)
    batch = Loader(Windows(PreparedSet.open(prepared_set).split("train"), 32, seed=1337), 8, 1337).batch(0, 0, 8)
    logits = model.logits(model(batch["tokens"]))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert norm > 0.5
    torch.optim.SGD(model.parameters(), lr=0.3).step()
    for one, other in zip(after.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_more_accuracy_is_better_less_loss_is_better(prepared_set, tmp_path):
    """The best checkpoint is the one of the metric that was asked for, in its own direction."""
    for metric, best in (("token_accuracy", max), ("loss", min)):
        run = tmp_path / metric
        result = pretrain(prepared_set, run, f"train.metric={metric}", "train.max_steps=16", "optimizer.lr=0.03")
        validation = [line for line in metrics(run) if line["split"] == "validation" and line["step"]]
        assert result[f"best_val_{metric}"] == best(line[metric] for line in validation)


def test_a_bug_names_the_log_that_has_its_traceback(prepared_set, tmp_path, monkeypatch, capsys):
    from bigtrain.exits import guarded
    from bigtrain.training.loop import Loop

    def broken(self):
        return {}["exp_avg"]

    monkeypatch.setattr(Loop, "_step", broken)
    run = tmp_path / "run"
    assert guarded(lambda: pretrain(prepared_set, run) and None) == 1
    assert f"error: KeyError: 'exp_avg' (traceback in {run / 'log.txt'})" in capsys.readouterr().err
    assert "in broken" in (run / "log.txt").read_text()
    assert json.loads((run / "status.json").read_text())["error"] == "KeyError: 'exp_avg'"


@pytest.mark.parametrize("asked", ["save", "stop"])
def test_a_full_disk_does_not_hide_how_a_run_ended(prepared_set, tmp_path, monkeypatch, asked):
    """The report and status.json need room as well: the first error is the one to tell."""
    import os
    import signal

    from bigtrain import runs, storage
    from bigtrain.errors import DiskFull, Stopped
    from bigtrain.training.loop import Loop

    def full(path, *_):
        raise DiskFull(f"no space for {path.name}")

    step = Loop._step

    def last_step(self):
        done = step(self)
        if self.state.step == 2:
            if asked == "stop":
                os.kill(os.getpid(), signal.SIGTERM)
                monkeypatch.setattr(Loop, "_save", lambda *_: None)
            monkeypatch.setattr(storage, "write_bytes", full)
            monkeypatch.setattr(runs, "write_json", full)
        return done

    monkeypatch.setattr(Loop, "_step", last_step)
    run = tmp_path / "run"
    with pytest.raises(DiskFull if asked == "save" else Stopped) as caught:
        pretrain(prepared_set, run)
    status = json.loads((run / "status.json").read_text())
    ends = {"save": ("failed", 6), "stop": ("preempted", 75)}
    assert (status["state"], status["exit_code"], status["step"]) == (*ends[asked], 2 if asked == "stop" else 4)
    assert status["error"] == str(caught.value)
    assert "report" not in status["error"]
