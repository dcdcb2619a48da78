"""All stages together: the same bytes whoever works on them, counts that add up, nothing private in what is written."""

import json
from pathlib import Path
from typing import Any

import messy
import pytest
from harness import run_verb

from bigtrain.data.pipeline import plan, run
from bigtrain.data.shards import PreparedSet
from bigtrain.errors import LostProcess, UserError

EVERYTHING = [
    "clean=web",
    "clean.gopher.max_top_ngrams=[0.5,0.5,0.5]",  # the small language of these tests repeats itself
    "clean.gopher.max_duplicate_ngrams=[]",
    "dedup=near",
    "dedup.paragraphs=true",
    "pii=mask",
    "tokenizer=bpe",
    "tokenizer.vocab_size=400",
    "tokenizer.word_boundaries=plain",
    "data.validation_fraction=0.1",
    "data.test_fraction=0.1",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "in"
    messy.write(folder)
    return folder


@pytest.fixture(autouse=True)
def _many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_SMALLEST_PART", 10_000)
    monkeypatch.setattr(run, "_LITTLE_WITH_STEPS", 0)


def prepare(corpus: Path, output: Path, *words: str) -> dict[str, Any]:
    files = [
        f"data.sources.web.files=[{corpus}/web.jsonl,{corpus}/more.jsonl.gz]",
        f"data.sources.notes.files={corpus}/notes",
        f"decontaminate.files={corpus}/evaluation.jsonl",
    ]
    return run_verb("prepare", [*files, *EVERYTHING, f"output={output}", *words])


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set as this process makes it."""
    output = tmp_path_factory.mktemp("alone") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_SMALLEST_PART", 10_000)
        prepare(corpus, output, "executor.workers=1")
    return output


@pytest.mark.parametrize("workers", [2, 4])
def test_several_workers_give_the_same_bytes(workers: int, alone: Path, corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "set", f"executor.workers={workers}")
    assert messy.content(tmp_path / "set") == messy.content(alone)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_dask_cluster_gives_the_same_bytes(alone: Path, corpus: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", silence_logs="ERROR"
    ) as cluster:
        prepare(corpus, tmp_path / "set", "executor=dask", f"executor.address={cluster.scheduler_address}")
    assert messy.content(tmp_path / "set") == messy.content(alone)


def test_another_division_gives_the_same_tokens(
    alone: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_SMALLEST_PART", 1 << 20)
    prepare(corpus, tmp_path / "set")
    assert messy.content(tmp_path / "set") == messy.content(alone)


def test_the_counts_add_up(alone: Path) -> None:
    figures = json.loads((alone / "statistics.json").read_text())
    stages = {stage["name"]: stage for stage in figures["stages"]}
    assert list(stages) == ["read", "clean", "decontaminate", "pii", "exact", "near", "paragraphs", "split"]
    before = stages["read"]["documents_in"]
    for name, stage in stages.items():
        assert stage["documents_in"] == before, name
        dropped = sum(reason["documents"] for reason in stage["reasons"].values())
        assert stage["documents_out"] == before - dropped, name
        before = stage["documents_out"]
    found = PreparedSet.open(alone)
    splits = found.manifest["splits"]
    assert before == sum(counts["documents"] for counts in splits.values())
    assert stages["split"]["bytes_out"] == sum(counts["bytes"] for counts in splits.values())
    for part, counts in splits.items():
        assert counts["tokens"] == sum(source["tokens"][part] for source in figures["sources"].values())
        assert counts["documents"]
    assert stages["exact"]["reasons"]["duplicate"]["documents"] == figures["duplicates"]["exact"] > 3
    assert stages["near"]["reasons"]["duplicate"]["documents"] == figures["duplicates"]["near"] > 3
    assert figures["duplicates"]["examples"]
    assert sum(figures["lengths"]["documents"]) == before
    assert figures["languages"]["en"]["documents"] == before
    assert figures["tokenizer"]["vocab_size"] == found.vocab_size
    assert figures["tokenizer"]["languages"]["en"]["fertility"] > 1
    assert figures["personal"]["email"]["count"] == figures["personal"]["card"]["count"] > 3
    assert figures["contamination"][0]["evaluation_file"].endswith("evaluation.jsonl")
    assert found.manifest["stages"][0]["documents_in"] == stages["read"]["documents_in"]
    found.verify()


def test_nothing_private_is_written(alone: Path) -> None:
    tokenizer = PreparedSet.open(alone).tokenizer()
    text = tokenizer.decode(PreparedSet.open(alone).split("train").tokens.tolist())
    assert "<EMAIL_1>" in text
    written = text + "".join(path.read_bytes().decode("latin-1") for path in alone.iterdir())
    for secret in (messy.EMAIL, messy.CARD, "jane.roe"):
        assert secret not in written


def test_no_path_and_no_time_is_written(alone: Path, corpus: Path) -> None:
    for path in alone.iterdir():
        content = path.read_bytes()
        assert str(corpus.parent).encode() not in content, path.name
        assert str(alone.parent).encode() not in content, path.name


def test_a_dry_run_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    from bigtrain.commands import prepare as command
    from bigtrain.config import load

    words = [f"data.files={corpus}/web.jsonl", *EVERYTHING, f"output={tmp_path / 'new' / 'set'}"]
    result = command.run(load("prepare", words), dry_run=True)
    assert result["files"] == 1
    assert result["bytes"] == (corpus / "web.jsonl").stat().st_size
    assert result["stages"] == ["read", "clean", "pii", "exact", "near", "paragraphs", "split"]
    assert result["disk_bytes_while_working"] > result["disk_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_sample_has_its_report(corpus: Path, tmp_path: Path) -> None:
    result = prepare(corpus, tmp_path / "set", "data.sample=30")
    assert 20 <= result["documents_read"] <= 30
    assert Path(result["report"]).is_file()
    assert "Data report" in Path(result["report"]).read_text()


def test_weights_are_for_training_only(corpus: Path, tmp_path: Path) -> None:
    words = [
        "clean=none",
        "dedup=none",
        "data.validation_fraction=0.2",
        f"data.sources.web.files={corpus}/web.jsonl",
        f"data.sources.notes.files={corpus}/more.jsonl.gz",
        "tokenizer=bytes",
    ]
    plain = run_verb("prepare", [*words, f"output={tmp_path / 'plain'}"])
    heavy = ["data.sources.web.weight=2.5", "data.sources.notes.weight=0.5"]
    run_verb("prepare", [*words, *heavy, f"output={tmp_path / 'heavy'}"])
    assert (tmp_path / "plain" / "validation.bin").read_bytes() == (tmp_path / "heavy" / "validation.bin").read_bytes()
    before, after = (
        {
            name: source["tokens"]["train"]
            for name, source in PreparedSet.open(tmp_path / at).manifest["sources"].items()
        }
        for at in ("plain", "heavy")
    )
    assert sum(before.values()) == plain["tokens_train"]
    assert 2.2 < after["web"] / before["web"] < 2.8
    assert 0.3 < after["notes"] / before["notes"] < 0.7
    manifest = PreparedSet.open(tmp_path / "heavy").manifest
    split, sources = manifest["stages"][-1], manifest["sources"]
    assert split["documents_out"] + split["reasons"]["weight"]["documents"] == split["documents_in"] == 120
    assert split["documents_out"] == sum(source["documents_kept"] for source in sources.values())
    n_again = sum(source["documents_again"] for source in sources.values())
    assert sum(counts["documents"] for counts in manifest["splits"].values()) == split["documents_out"] + n_again
    n_bytes = split["bytes_out"] + sum(source["bytes_again"] for source in sources.values())
    assert sum(counts["bytes"] for counts in manifest["splits"].values()) == n_bytes
    page = (tmp_path / "heavy" / "report.html").read_text()
    assert "Of 120 documents" in page
    assert f"<b>{split['documents_out']}</b> documents" in page
    tiny = [f"data.sources.{name}.weight=0.0000001" for name in ("web", "notes")]
    with pytest.raises(UserError, match="no document is left for training"):
        run_verb("prepare", [*words, *tiny, "tokenizer=bpe", f"output={tmp_path / 'empty'}"])
    assert not (tmp_path / "empty").exists()


def test_a_document_that_is_cut_counts_once(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"{n} " * 50}) + "\n" for n in range(10)))
    words = [f"data.files={tmp_path / 'rows.jsonl'}", "tokenizer=bytes", "data.split_by=tail"]
    result = run_verb("prepare", [*words, "data.validation_fraction=0.25", f"output={tmp_path / 'set'}"])
    assert (result["documents"], result["documents_kept"]) == (11, 10)
    assert PreparedSet.open(tmp_path / "set").manifest["sources"]["files"]["documents_again"] == 1


def test_what_was_dropped_is_counted_by_source_and_language(alone: Path) -> None:
    manifest = PreparedSet.open(alone).manifest
    for stage in manifest["stages"]:
        for reason in stage["reasons"].values():
            assert sum(reason["sources"].values()) == reason["documents"]
    near = next(stage for stage in manifest["stages"] if stage["name"] == "near")
    assert near["reasons"]["duplicate"]["sources"].keys() == {"web", "notes"}


def test_the_report_says_why(tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    texts = [f"Dies ist ein langer deutscher Satz, den niemand hier lesen will, Nummer {n}." for n in range(3)]
    texts += ["This is an English sentence that everybody reads with a little pleasure.", "Too short \x07"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text * 3}) + "\n" for text in texts))
    words = [f"data.files={tmp_path / 'rows.jsonl'}", "tokenizer=bytes", "data.validation_fraction=0"]
    words += ["clean.language.identify=true", "clean.language.keep=[en]", "clean.length.min_characters=50"]
    run_verb("prepare", [*words, f"output={tmp_path / 'set'}"])
    page = (tmp_path / "set" / "report.html").read_text()
    reasons = json.loads((tmp_path / "set" / "statistics.json").read_text())["stages"][1]["reasons"]
    assert reasons["language:unwanted"]["languages"] == {"de": 3}
    assert reasons["length:short"]["examples"][0]["limit"] == 50
    for said in ("de: 3", "where the limit is 50", "removed: control characters"):
        assert said in page, said


def test_groups_stay_together(corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "web.jsonl").read_text().splitlines()]
    words = [f"data.files={corpus}/web.jsonl", "data.group_field=site", "clean=none", "dedup=none", "tokenizer=bytes"]
    run_verb("prepare", [*words, "data.validation_fraction=0.4", f"output={tmp_path / 'set'}"])
    found = PreparedSet.open(tmp_path / "set")
    tokenizer, sites = found.tokenizer(), {}
    for part in ("train", "validation"):
        split = found.split(part)
        ends = [*split.document_starts[1:], len(split)]
        texts = {
            tokenizer.decode(split.tokens[start : end - 1].tolist())
            for start, end in zip(split.document_starts, ends, strict=True)
        }
        sites[part] = {row["site"] for row in rows if row["text"] in texts and not row["text"].startswith("buy")}
    assert sites["train"]
    assert sites["validation"]


def test_rows_that_cannot_be_read_are_counted_up_to_a_limit(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "web.jsonl").read_text().splitlines()
    for place in (1, 30, 50):
        lines[place] = f'{{"text": {messy.EMAIL}}}'
    (tmp_path / "web.jsonl").write_text("\n".join(lines))
    words = [f"data.files={tmp_path}/web.jsonl", "tokenizer=bytes", f"output={tmp_path / 'set'}"]
    with pytest.raises(UserError, match=r"web\.jsonl:2: not JSON"):
        run_verb("prepare", words)
    assert not (tmp_path / "set").exists()
    skip = [*words, "data.on_error=skip", "executor.workers=1"]
    for _ in range(2):  # the second time most of them are known
        with pytest.raises(UserError, match=r"web\.jsonl:51: not JSON.*\(and 2 before\)\n") as caught:
            run_verb("prepare", [*skip, "data.max_errors=2"])
        assert str(caught.value).count("goes on after") == 1
        assert list((tmp_path / "set.preparing").glob("documents/*/done.json"))
    with pytest.raises(UserError, match=r"\(and 0 before\)"):  # a lower limit than has been passed
        run_verb("prepare", [*skip, "data.max_errors=0"])
    result = run_verb("prepare", [*skip, "data.max_errors=3"])
    assert result["errors"] == 3
    figures = json.loads((tmp_path / "set" / "statistics.json").read_text())["errors"]
    assert figures["count"] == 3
    assert [example.partition(" ")[0] for example in figures["examples"]] == [f"web.jsonl:{n}:" for n in (2, 31, 51)]


def test_rules_that_leave_nothing_are_an_error(corpus: Path, tmp_path: Path) -> None:
    words = [f"data.files={corpus}/web.jsonl", "tokenizer=bytes", f"output={tmp_path / 'set'}"]
    with pytest.raises(UserError, match=r"none of 60 documents is left: length:short"):
        run_verb("prepare", [*words, "clean.length.min_characters=100000"])
    assert not (tmp_path / "set").exists()


def test_a_worker_that_dies_loses_nothing(
    corpus: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run, "make_tokens", die)
        with pytest.raises(LostProcess, match="memory"):
            prepare(corpus, tmp_path / "set", "executor.workers=2")
    assert len(list((tmp_path / "set.preparing" / "documents").glob("*/done.json"))) > 3
    prepare(corpus, tmp_path / "set", "executor.workers=2")
    assert messy.content(tmp_path / "set") == messy.content(alone)


def die(job: Any) -> None:
    import os

    os._exit(9)
