"""`bigtrain doctor`: what it measures is true, and what is missing is named with its remedy."""

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from bigtrain import environment
from bigtrain.commands import doctor


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS_OF_A_MEASUREMENT", 0.01)


def test_a_whole_run(capsys):
    before = torch.backends.mkldnn.matmul.fp32_precision
    result = doctor.run()
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert json.loads(json.dumps(result)) == result
    assert result["versions"]["torch"] == version("torch")
    speed = result["matmul"]["cpu"]
    assert all(row["gflops"] > 0.1 for row in speed.values())
    assert speed["fp32"]["error"] < 1e-3 < speed["bf16"]["error"] < 1
    assert speed["fp32"]["error"] <= speed["fp32, fast route"]["error"] <= speed["bf16"]["error"]
    doctor.show(result)
    shown = capsys.readouterr().out
    for words in ("GFLOP/s", torch.__version__, "GiB free", "configs", "gloo"):
        assert words in shown


def test_a_missing_extra_names_its_command(monkeypatch, capsys):
    lines = ["torch>=2", 'transformers<6,>=5; extra == "hf"', "lxml>=5; extra == 'data'", 'pytest; extra == "dev"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(environment, "version", lambda name: None if name in ("transformers", "lxml") else "1.0")
    missing = []
    assert doctor._versions(missing)["torch"] == "1.0"
    extras = doctor._extras(missing)
    assert extras["hf"] == {"gives": doctor.EXTRAS["hf"], "packages": {"transformers": None}}
    assert set(extras) == {"hf", "data"}
    assert missing == [
        f"transformers (optional, {doctor.EXTRAS['hf']}): pip install 'bigtrain[hf]'",
        f"lxml (optional, {doctor.EXTRAS['data']}): pip install 'bigtrain[data]'",
    ]
    assert doctor._in_words(extras["hf"]) == f"{doctor.EXTRAS['hf']} (transformers missing)"


def test_every_extra_is_known():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {*doctor.EXTRAS, *doctor.OF_DEVELOPERS}


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    missing = []
    assert doctor._cpu(missing)["compiler"] is None
    assert "device.compile" in missing[0]


def test_folders_that_cannot_be_written_and_full_disks_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: type("Usage", (), {"free": 2**20 if path == tmp_path else 2**40})
    )
    missing = []
    found = doctor._folders(missing)
    assert found[str(tmp_path / "not" / "yet")] == {"free_bytes": 2**20, "writable": False}
    assert len(missing) == 2
    assert all(str(tmp_path) in line and "BIGTRAIN_CACHE" in line for line in missing)


def test_a_wrong_config_folder_is_named(monkeypatch):
    monkeypatch.setenv("BIGTRAIN_CONFIG_DIR", "/nowhere")
    missing = []
    assert len(doctor._configs(missing)) == 1
    assert "/nowhere" in missing[0]


def test_nothing_missing_is_said(capsys):
    result = doctor.run()
    doctor.show({**result, "missing": []})
    assert "nothing is missing" in capsys.readouterr().out
    doctor.show({**result, "missing": ["a thing: get it"]})
    assert capsys.readouterr().out.endswith("missing\n  a thing: get it\n")
