"""Configs: every packaged file, what values mean, what is refused and how, and what continuing a run takes over."""

import random
import re
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from composed import _packaged_configs_are_composed_once  # noqa: F401

from bigtrain import config
from bigtrain.config import folders
from bigtrain.config.compose import compose
from bigtrain.config.foreign import FOREIGN, FOREIGN_OF
from bigtrain.config.loading import annotated
from bigtrain.data.schema import BPEConfig, Builtin
from bigtrain.errors import UserError
from bigtrain.options import option
from bigtrain.parallel.schema import DeviceKind
from bigtrain.schema import ROOTS
from bigtrain.training.schema import AdamWConfig, MuonConfig

NEEDED = {
    "prepare": ["data=stdlib", "output=out"],
    "pretrain": ["data=stdlib", "train.max_steps=1"],
    "finetune": ["init_from=m", "objective=classify", "data.train=a.csv", "train.max_steps=1"],
    "evaluate": ["checkpoint=m", "data=stdlib"],
    "generate": ["checkpoint=m"],
}
FITTING = {
    "tokenizer=file": ["tokenizer.path=t.json"],
    "data=own": ["data.files=a.txt"],
    "executor=dask": ["executor.address=tcp://localhost:8786"],
}


def refused(verb: str, *lines: str, **places: Any) -> str:
    with pytest.raises(UserError) as caught:
        _ = config.load(verb, lines, **places).config
    return str(caught.value)


def value(verb: str, line: str) -> Any:
    """What one override makes of its key."""
    plain: Any = config.load(verb, [line]).plain
    for part in line.partition("=")[0].lstrip("+").split("."):
        plain = plain[part]
    return plain


# ---- the packaged files


def verb_of(group: str, option: str) -> str:
    if group == "recipe":  # which says it in its header
        text = (folders.packaged() / group / f"{option}.yaml").read_text(encoding="utf-8")
        return re.search(r"bigtrain (\w+) recipe=", text)[1]
    return next(verb for verb in ("pretrain", *ROOTS) if group in ROOTS[verb].__dataclass_fields__)


OPTIONS = [(group, option) for group in folders.groups() for option in folders.options([folders.packaged()], group)]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_packaged_option_passes_the_checks(group: str, option: str) -> None:
    verb = verb_of(group, option)
    line = f"{group}={option}"
    needed = [word for word in NEEDED[verb] if group != "recipe" or "objective=" not in word]  # a recipe has its own
    loaded = config.load(verb, [*needed, line, *FITTING.get(line, [])])
    assert isinstance(loaded.config, ROOTS[verb])
    chosen, path = loaded.sources[group]
    assert (chosen, path) == (option, folders.packaged() / group / f"{option}.yaml")
    assert len(folders.doc(path)) > 5


@pytest.mark.parametrize("verb", ROOTS)
def test_every_root_is_usable_with_what_it_requires(verb: str) -> None:
    assert isinstance(config.load(verb, NEEDED[verb]).config, ROOTS[verb])
    assert folders.doc(folders.packaged() / f"{verb}.yaml")


# ---- what values mean

TEXTS = [
    "你好，世界",
    "Hello, world!",
    "1e3",
    "007",
    "true",
    "",
    " two  spaces ",
    "a=b=c",
    "'single' and \"double\"",
    '"wrapped"',
    "(parentheses) [brackets] {braces}",
    "[a, b]",
    "line\nbreak\r\n\ttab",
    "${model.dim} ${oc.env:HOME} \\${x} \\\\${y} ${",
    "back\\slash \\' \\",
    "???",
    "NULL",
    "~+-:@/#%!*&|<>?`^",
    "a: b # c",
    "- item",
    "2026-11-23",
    "don't stop, can't stop",
    "\x85\u2028\ufeff🙂\x00\x1b",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_means_what_it_looks_like(text: str) -> None:
    loaded = config.load("generate", ["checkpoint=m", f"prompt={text}"])
    assert loaded.config.prompt == loaded.plain["prompt"] == text
    assert loaded.overrides == ["checkpoint=m", f"prompt={text}"]
    assert config.read_yaml(config.to_yaml(loaded))["prompt"] == text


def test_random_text_makes_the_round_trip() -> None:
    draw = random.Random(0)
    alphabet = [*"\\'\"${},=[]() \n\t:#~+-?!0123456789eE.aé你🙂", "${", "null", "\\${", "true", "\u2029", "\x7f"]
    for _ in range(300):
        text = "".join(draw.choices(alphabet, k=draw.randrange(1, 20)))
        if text == "null":
            continue
        loaded = config.load("generate", ["checkpoint=m", f"prompt={text}"])
        assert loaded.config.prompt == text
        saved = config.read_yaml(config.to_yaml(loaded))
        assert saved == loaded.plain
        assert config.from_plain("generate", saved) == loaded.config


def test_null_is_null_for_an_optional_text_and_text_otherwise() -> None:
    assert value("generate", "prompt=null") is None
    assert value("prepare", "output=null") == "null"
    assert config.load("generate", ["checkpoint=m"], texts={"prompt": "null"}).config.prompt == "null"
    assert config.load("generate", ["checkpoint=m"], texts={"prompt": "a ${b}"}).config.prompt == "a ${b}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my file.txt", ["my file.txt"]),
        ("a,b.txt", ["a,b.txt"]),
        ("[a b, \"c,d\" ,'e']", ["a b", "c,d", "e"]),
        ("[don't, stop]", ["don't", "stop"]),
        (r'["say \"hi\"", "a\b"]', ['say "hi"', r"a\b"]),
        ("[data/[ab]*.txt, 数据.txt]", ["data/[ab]*.txt", "数据.txt"]),
        ("[1e3,${x}]", ["1e3", "${x}"]),
        ("[a,]", ["a"]),
        ("[]", []),
        ("", []),
        ("null", []),
    ],
)
def test_lists_of_texts(text: str, expected: list[str]) -> None:
    assert value("pretrain", f"data.files={text}") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train.max_tokens=1e9", 1_000_000_000),
        ("train.max_steps=1_000", 1000),
        ("train.max_steps=null", None),
        ("optimizer.lr=1e-3", 0.001),
        ("train.max_minutes=3", 3.0),
        ("device.compile=True", True),
        ("device.kind=cuda", "cuda"),
        ("optimizer.betas=[0.8,0.9]", [0.8, 0.9]),
        ("train.seq_len=${model.max_seq_len}", 256),
        ("train.seq_len=${model.n_heads}", 3),
    ],
)
def test_other_types_follow_the_grammar(line: str, expected: Any) -> None:
    got = value("pretrain", line)
    assert got == expected
    assert type(got) is type(expected)


def test_keys_below_a_mapping_need_no_plus_and_are_verbatim() -> None:
    loaded = config.load(
        "evaluate", [*NEEDED["evaluate"], "gates.accuracy='>=0.9'", "gates.loss=<3", '+gates.f1=">=0.5"']
    )
    assert loaded.config.gates == {"accuracy": ">=0.9", "loss": "<3", "f1": ">=0.5"}
    assert {"gates.accuracy", "gates.loss", "gates.f1"} <= loaded.touched


def test_the_typed_root() -> None:
    loaded = config.load("pretrain", ["recipe=demo", "device=cpu", "optimizer=adamw", "tokenizer.vocab_size=300"])
    root = loaded.config
    assert root.device.kind is DeviceKind.cpu
    assert root.data.builtin is Builtin.stdlib
    assert root.tokenizer == BPEConfig(vocab_size=300)
    assert isinstance(root.optimizer, AdamWConfig)
    assert root.optimizer.betas == (0.9, 0.95)
    assert all(not isinstance(leaf, Enum) for leaf in config.flat(loaded.plain).values())


def test_the_last_of_two_settings_counts() -> None:
    loaded = config.load("pretrain", ["seed=1", "model=tiny", "seed=2", "model=llama-15m"])
    assert (loaded.plain["seed"], loaded.plain["model"]["dim"]) == (2, 288)


# ---- what is refused, and how

REFUSED = [
    ("pretrain", ["max_steps=3"], ["max_steps=3", "train.max_steps=3"]),
    ("pretrain", ["lr=1e-3"], ["optimizer.lr=1e-3"]),
    ("pretrain", ["train.max_stepz=3"], ["train has no key `max_stepz`", "train.max_steps=3"]),
    ("pretrain", ["trainer.max_steps=3"], ["train.max_steps=3"]),
    ("pretrain", ["output_dir=x"], ["run.dir=DIR"]),
    ("pretrain", ["train.learning_rate=1"], ["optimizer.lr=RATE"]),
    ("pretrain", ["wandb.project=x"], ["track=wandb"]),
    ("pretrain", ["push_to_hub=true"], ["there is none"]),
    ("pretrain", ["tokenizer.path=x"], ["tokenizer=file tokenizer.path=x"]),
    ("pretrain", ["prompt=x"], ["a key of bigtrain generate"]),
    ("pretrain", ["qqqqqq=x"], ["`bigtrain configs pretrain`"]),
    ("pretrain", ["model=tini"], ["llama-1b", "model=tiny"]),
    ("pretrain", ["model=../model/tiny"], ["these options"]),
    ("pretrain", ["model=tiny,llama-1b"], ["--multirun"]),
    ("pretrain", ["train.max_steps=1,2"], ["--multirun"]),
    ("pretrain", ["train.max_steps=abc"], ["train.max_steps=abc", "a whole number or null"]),
    ("pretrain", ["train.max_steps=1.5"], ["a whole number"]),
    ("pretrain", ["train.max_steps=true"], ["a whole number"]),
    ("pretrain", ["train.max_steps=("], ["a whole number"]),
    ("pretrain", ["train.max_steps=0"], ["at least 1"]),
    ("pretrain", ["optimizer.lr=-1"], ["optimizer.lr=-1", "above 0"]),
    ("pretrain", ["optimizer.lr=nan"], ["finite"]),
    ("pretrain", ["optimizer.betas=[0.9]"], ["a list of 2"]),
    ("pretrain", ["device.compile=yes"], ["true or false"]),
    ("pretrain", ["device.kind=cudaa"], ["auto, cpu, cuda", "device.kind=cuda"]),
    ("pretrain", ["model.dropout=1"], ["below 1"]),
    ("pretrain", ["+train.max_steps=3"], ["drop the plus", "train.max_steps=3"]),
    ("pretrain", ["++train.foo=3"], ["train has no key `foo`"]),
    ("pretrain", ["~train.max_steps"], ["train.max_steps=null"]),
    ("pretrain", ["train=3"], ["train.KEY=VALUE"]),
    ("pretrain", ["optimizer.name=sgd"], ["optimizer=OPTION"]),
    ("pretrain", ["hydra.verbose=true"], ["--multirun"]),
    ("pretrain", ["corpus.txt"], ["KEY=VALUE"]),
    ("pretrain", ["=3"], ["a key is made of"]),
    ("evaluate", ["gates.accuracy>=0.9"], ["gates.accuracy='>=0.9'"]),
    ("pretrain", ["train.seq_len=${oc.env:HOME}"], ["${oc.env:HOME}", "the environment"]),
    ("pretrain", ["train.seq_len=${no.such}"], ["train.seq_len=${no.such}", "not found"]),
    ("pretrain", ["model.n_heads=5", *NEEDED["pretrain"]], ["model.n_heads=5"]),
    ("pretrain", ["data.files=a", *NEEDED["pretrain"]], ["exactly one source"]),
    ("pretrain", ["train.max_steps=1"], ["no data", "data.files="]),
    ("finetune", ["init_from=m"], ["objective=causal or objective=classify"]),
    ("finetune", ["objective=causal"], ["init_from", "is required"]),
    ("generate", [], ["checkpoint is required"]),
    ("generate", ["checkpoint=???"], ["checkpoint is required"]),
    ("generate", ["recipe=demo"], ["this recipe is for bigtrain pretrain"]),
    ("generate", ["recipe=sft_en"], ["is for bigtrain finetune", "give bigtrain finetune recipe=sft_en"]),
    ("pretrain", ["recipe=classify_en"], ["is for bigtrain finetune"]),
    ("pretrain", ["recipe=dpo_en"], ["is for bigtrain finetune"]),
    ("evaluate", ["batch_size=3"], ["evals.batch_rows=ROWS"]),
    ("evaluate", ["num_train_epochs=3"], ["bigtrain pretrain and finetune have train.max_epochs=PASSES"]),
    ("generate", ["model=runs/a"], ["checkpoint=PATH"]),
    ("pretrain", ["checkpoint=runs/a"], ["init_from=PATH"]),
    ("finetune", ["task=classify"], ["objective=classify"]),
    ("pretrain", ["model.size=tiny"], ["model=tiny"]),
    ("pretrain", ["num_return_sequences=2"], ["bigtrain generate has n=NUMBER"]),
    ("evaluate", ["checkpoint=m"], ["no data", "data.path=DIR and data=stdlib"]),
    ("prepare", ["output=o"], ["no data", "data.sources.NAME.files=[GLOB,...] and data=stdlib"]),
    ("generate", ["prompt=\udc80"], ["UTF-8"]),
]


@pytest.mark.parametrize(
    ("verb", "lines", "words"), REFUSED, ids=lambda part: str(part).encode("ascii", "replace").decode()
)
def test_refusals_say_what_to_do(verb: str, lines: list[str], words: list[str]) -> None:
    message = refused(verb, *lines)
    assert len(message.splitlines()) == 3
    assert [word for word in words if word not in message] == []


def test_foreign_names_are_answered_with_keys_that_exist() -> None:
    known = {key for verb in ROOTS for key in config.flat(config.load(verb).plain)} | set(folders.groups())
    known |= {"tokenizer.path", "tokenizer.vocab_size", "data.validation", "data.train", "data.label_field"}
    known |= {"track.project"}
    known |= {f"adapter.{key}" for key in ("rank", "alpha", "dropout", "targets", "rank_stabilised")}
    assert FOREIGN_OF.keys() <= ROOTS.keys()
    tables = [*FOREIGN.items(), *((name, answer) for own in FOREIGN_OF.values() for name, answer in own.items())]
    for name, answer in tables:
        assert (name in ("model", "init_from")) or name not in config.flat(
            config.load("pretrain").plain
        )  # `generate` has a `batch_size`
        for word in answer.replace(",", " ").replace(":", " ").split():
            key, equals, option = word.strip("()`;").partition("=")
            assert not equals or key in known, f"{name}: {key}"
            if equals and key in folders.groups():
                assert folders.find([folders.packaged()], f"{key}/{option}"), f"{name}: {word}"


def test_evaluate_measures_files() -> None:
    assert "data.files=[FILE,...]" in refused("evaluate", "data.train=rows.csv")


@pytest.mark.parametrize("name", FOREIGN)
def test_no_foreign_name_is_left_without_an_answer(name: str) -> None:
    assert FOREIGN[name] in refused("pretrain", f"{name}=1") or "did you mean" in refused("pretrain", f"{name}=1")


# ---- the user's folder


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def test_the_users_folder_adds_shadows_and_extends(tmp_path: Path) -> None:
    own = write(
        tmp_path / "mine",
        model__wide="# Wider\ndefaults: [llama-15m, _self_]\ndim: 600\nn_layers: 1e1\n",
        device__cpu="kind: cpu\nprecision: fp32\n",
        night="defaults: [/pretrain, override /model: wide, _self_]\ntrain: {max_steps: 7}\ndata: {text_field: body}\n",
    )
    loaded = config.load("pretrain", ["device=cpu", "data.files=a"], config_name="night", config_dir=own)
    root = loaded.config
    assert (root.model.dim, root.model.n_layers, root.model.n_heads) == (600, 10, 6)  # own, own, extended
    assert (root.device.precision, root.train.max_steps, root.data.text_field) == ("fp32", 7, ["body"])
    assert loaded.sources["model"] == ("wide", own / "model" / "wide.yaml")
    assert loaded.sources["pretrain"] == ("night", own / "night.yaml")
    assert {"train.max_steps", "model.dim", "data.text_field", "data.files", "device.precision"} <= loaded.touched
    assert not {"seed", "model.dropout", "train.clip_norm"} & loaded.touched
    text = annotated(loaded)
    assert f"# model=wide ({own / 'model' / 'wide.yaml'})" in text
    assert yaml.safe_load(text) == loaded.plain


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: decoder\ndim: wide\n", ["model.dim=wide (", "bad.yaml, line 2)", "a whole number"]),
        ("name: decoder\n\ndimm: 3\n", ["model.dimm=3 (", "line 3", "model.dim=3"]),
        ("name: decoder\ndim: -8\n", ["line 2", "at least 1"]),
        ("name: decoder\ndim: ${oc.env:HOME}\n", ["line 2", "the environment"]),
        ("name: decoder\ndim: ${${name}:x}\n", ["line 2", "the environment"]),
        ("name: decoder\ndim: ${now:%Y}\n", ["line 2", "functions"]),
        ("name: decoder\ndim: ${model.nothing}\n", ["line 2", "not found"]),
        ("defaults: ['${oc.env:BIGTRAIN_TEST_OPTION}', _self_]\n", ["oc.env:BIGTRAIN_TEST_OPTION"]),
        ("_target_: os.system\nname: decoder\n", ["model._target_=os.system", "line 1", "data"]),
        ("defaults: [tiny, _self_]\ndropout:\n  _partial_: true\n", ["_partial_", "data"]),
        ("dim: 8\n", ["model without a name (", "bad.yaml)", "decoder"]),
        ("name: mamba\n", ["model.name=mamba (", "line 1", "decoder"]),
        ("- a\n- b\n", ["model without a name"]),
        ("a: [1\nb: }\n", ["bad.yaml", "line 2", "YAML"]),
        ("defaults: [bad]\n", ["must not include itself"]),
        ("defaults: [no_such, _self_]\n", ["no_such"]),
        ("name: decoder\ndim: 8\nn_layers: 1\n", ["model.n_heads is required"]),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: list[str]
) -> None:
    monkeypatch.setenv("BIGTRAIN_TEST_OPTION", "tiny")
    own = write(tmp_path, model__bad=content)
    message = refused("pretrain", "model=bad", *NEEDED["pretrain"], config_dir=own)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("train:\n  max_steps: 3\n", ["own.yaml", "begin the file with `# @package _global_`"]),
        ("", ["own.yaml", "empty", "`# @package _global_`"]),
        ("# @package _global_\n- a\n", ["own.yaml", "a mapping"]),
        (
            "# @package _global_\ndefaults:\n  - override /model: tini\n",
            ["model=tini (", "own.yaml, line 3", "model=tiny?"],
        ),
        ("# @package _global_\ndefaults:\n  - override /modle: tiny\n", ["modle (", "line 3", "did you mean model?"]),
        ("# @package _global_\ndefaults: [/modle: tiny]\n", ["modle=tiny (", "line 2", "did you mean model?"]),
        ("# @package _global_\ndefaults:\n  - override model: tiny\n", ["line 3", "`override /model: OPTION`"]),
        ("# @package _global_\ntrain: {max_stepz: 3}\n", ["own.yaml, line 2", "train.max_steps=3"]),
        ("# @package _global_\nevals: {stride: 3}\n", ["is for bigtrain evaluate"]),
    ],
)
def test_what_is_wrong_in_a_recipe(tmp_path: Path, content: str, words: list[str]) -> None:
    own = write(tmp_path, recipe__own=content)
    message = refused("pretrain", "recipe=own", *NEEDED["pretrain"], config_dir=own)
    assert [word for word in words if word not in message] == []
    assert "Config search path" not in message


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refused("pretrain", "model=bad", config_dir=tmp_path)


def test_unknown_config_names_and_folders(tmp_path: Path) -> None:
    assert "did you mean pretrain?" in refused("pretrain", config_name="pretrian")
    assert "--config-dir runs/a --config-name config" in refused("pretrain", config_name="runs/a/config.yaml")
    assert "--config-dir" in refused("pretrain", config_dir=tmp_path / "none")


def test_configs_of_something_else_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = config.load("pretrain", NEEDED["pretrain"]).plain
    write(tmp_path / "configs", app="port: 80\n", model__resnet="layers: 50\n", train="[1, 2\n")
    (tmp_path / "configs" / "data").write_text("a file, not a folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(folders.ENVIRONMENT)
    assert folders.search() == [tmp_path / "configs", folders.packaged()]
    assert config.load("pretrain", NEEDED["pretrain"]).plain == expected
    write(tmp_path / "configs", model__tiny="layers: 3\n")
    assert f"{folders.ENVIRONMENT}= leaves ./configs out" in refused("pretrain", *NEEDED["pretrain"])
    monkeypatch.setenv(folders.ENVIRONMENT, "")
    assert config.load("pretrain", NEEDED["pretrain"]).plain == expected


def test_the_environment_resolver_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    compose("generate", {}, [folders.packaged()])
    monkeypatch.setenv("BIGTRAIN_TEST_CANARY", "seen")
    assert OmegaConf.to_container(OmegaConf.create({"a": "${oc.env:BIGTRAIN_TEST_CANARY}"}), resolve=True) == {
        "a": "seen"
    }


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    own = write(tmp_path / "mine, 我的 100% = [a]", seed7="defaults: [/pretrain, _self_]\nseed: 7\n")
    loaded = config.load("pretrain", config_name="seed7", config_dir=own)
    assert loaded.plain["seed"] == 7
    assert loaded.sources["pretrain"] == ("seed7", own / "seed7.yaml")


@dataclass
class Triangle:
    """A schedule that another package brings."""

    name: str = option("triangle", "the schedule")
    peak: float = option(0.5, "where the top is", above=0, below=1)


def test_other_packages_add_kinds_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write(tmp_path, schedule__triangle="# Up and down\nname: triangle\n")
    entry = EntryPoint("triangle", f"{__name__}:Triangle", "bigtrain.schedule")

    def entry_points(*, group: str, name: str) -> list[EntryPoint]:
        return [entry] if (group, name) == (entry.group, entry.name) else []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    lines = [*NEEDED["pretrain"], "schedule=triangle", "schedule.peak=0.25"]
    assert config.load("pretrain", lines, config_dir=own).config.schedule == Triangle(peak=0.25)
    assert "below 1" in refused("pretrain", *lines, "schedule.peak=2", config_dir=own)


# ---- plain configs and continuing


def test_a_saved_config_gives_the_same_root() -> None:
    loaded = config.load("pretrain", ["recipe=demo", "run.name=${x} 1e3", "data.text_field=[a, b]"])
    saved = yaml.safe_load(config.to_yaml(loaded))
    assert saved == loaded.plain
    assert config.from_plain("pretrain", saved) == loaded.config
    saved["train"]["max_stepz"] = 3
    with pytest.raises(UserError, match=r"max_stepz=3 \(runs/a/config.yaml\)"):
        config.from_plain("pretrain", saved, "runs/a/config.yaml")


def test_continuing_takes_only_what_the_command_sets() -> None:
    first = config.load("pretrain", ["recipe=demo", "optimizer.lr=0.5", "train.log_every_steps=3"])
    again = config.continued(first.plain, config.load("pretrain", ["run.dir=x", "resume=must"]))
    assert again.config.run.dir == "x"
    assert again.config.resume.mode == "must"
    changed = {key for key, now in config.flat(again.plain).items() if config.flat(first.plain)[key] != now}
    assert changed == {"run.dir", "resume.mode"}


def test_continuing_takes_a_node_of_another_kind_as_a_whole() -> None:
    first = config.load("pretrain", [*NEEDED["pretrain"], "optimizer.weight_decay=0.3"])
    again = config.continued(first.plain, config.load("pretrain", ["optimizer=muon"]))
    assert again.config.optimizer == MuonConfig()
    assert again.config.data.builtin is Builtin.stdlib
    kept = config.continued(first.plain, config.load("pretrain", ["optimizer.lr=0.1"]))
    assert kept.config.optimizer == AdamWConfig(lr=0.1, weight_decay=0.3)


def test_the_keys_of_a_continued_run_are_those_of_its_own_kinds(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()  # a run began here
    words = ["objective=classify", "adapter=lora", "schedule=plateau", "init_from=x", "data.train=${y} z"]
    first = config.load("finetune", [*words, "adapter.dropout=0.25", "objective.label_smoothing=0.1"])
    (tmp_path / "config.yaml").write_text(config.to_yaml(first))
    lines = [f"run.dir={tmp_path}", "adapter.merge=true", "objective.label_smoothing=0", "schedule.factor=0.25"]
    loaded = config.load("finetune", lines)
    again = config.continued(first.plain, loaded)
    assert loaded.named == {line.partition("=")[0] for line in lines}
    changed = {key for key, now in config.flat(again.plain).items() if config.flat(first.plain)[key] != now}
    assert changed == loaded.named
    assert "adapter.rankk=3\n" in refused("finetune", lines[0], "adapter.rankk=3")
    other = config.continued(first.plain, config.load("finetune", [lines[0], "adapter=none"]))
    assert other.plain["adapter"] == {"name": "none"}


def test_a_command_that_names_no_data_can_continue() -> None:
    first = config.load("pretrain", NEEDED["pretrain"])
    loaded = config.load("pretrain", ["train.max_steps=9"])
    assert config.continued(first.plain, loaded).config.train.max_steps == 9
    with pytest.raises(UserError, match="no data"):
        _ = loaded.config


def test_what_counts_as_touched() -> None:
    touched = config.load("pretrain", ["device=auto", "seed=1337", "recipe=shakespeare_char"]).touched
    assert {"device.kind", "device.compile", "seed", "model.dim", "tokenizer.name", "train.batch_rows"} <= touched
    assert not {"run.dir", "train.clip_norm", "objective.name"} & touched
    assert config.load("pretrain").touched == set()
    chosen = config.load("evaluate", ["data=stdlib", "data.split=train"])
    assert "data.label_field" in chosen.touched
    assert chosen.named == {"data.builtin", "data.split"}


def test_importing_the_config_loads_neither_torch_nor_hydra() -> None:
    code = "import sys, bigtrain.config; print({'torch', 'hydra', 'omegaconf'} & sys.modules.keys())"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
