"""Bad input, one table: what is typed, the exit code, and the words that the error must hold.

For each: one `error:` block on standard error, no traceback, nothing on standard output, and no file changed, made or
left half-written.
"""

import contextlib
import errno
import gzip
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composed import _packaged_configs_are_composed_once  # noqa: F401
from encoders import encoder, wordpiece
from harness import TINY, environment, run_verb
from safetensors.numpy import load_file, save_file

from bigtrain import storage
from bigtrain.cli import main
from bigtrain.data import executor
from bigtrain.data.pipeline import plan, run
from bigtrain.data.pipeline.work import held
from bigtrain.data.reading import files
from bigtrain.data.schema import CharsConfig
from bigtrain.models.huggingface import save_model
from bigtrain.runs import RunFolder
from bigtrain.tokenizer import train as train_tokenizer

Patch = Callable[[pytest.MonkeyPatch, Path], Any]


@dataclass(frozen=True)
class Case:
    """Words of a command line, in which {w} is the folder of `world` and {set} its prepared set."""

    id: str
    command: str
    code: int
    message: tuple[str, ...]  # with the same places
    patch: Patch | None = None


def case(id: str, command: str, code: int, *message: str, patch: Patch | None = None) -> Case:
    return Case(id, command, code, message, patch)


LM = f"data.path={{set}} run.dir=new train.max_steps=4 {' '.join(TINY)}"
PRETRAIN = f"pretrain {LM}"
FINETUNE = f"finetune objective=causal init_from={{w}}/run {' '.join(x for x in LM.split() if 'model.' not in x)}"
CLASSIFY = (
    "finetune objective=classify init_from={w}/run data.train={w}/labels.csv run.dir=new train.max_steps=2 "
    "train.seq_len=32 train.batch_rows=4 device=cpu"
)
TAG = (
    "finetune objective=tag init_from={w}/run data.train={w}/tags.conll run.dir=new train.max_steps=2 "
    "train.batch_rows=4 device=cpu"
)
PREPARE = "prepare tokenizer=bytes output=new"
EVALUATE = "evaluate checkpoint={w}/run device=cpu"
CLASSIFIER = "evaluate checkpoint={w}/classifier device=cpu"
GENERATE = "generate checkpoint={w}/run device=cpu max_new_tokens=4"
FILL = "generate checkpoint={w}/masked device=cpu"
CONTINUE = "pretrain run.dir={w}/run"


def disk_is_full(patch: pytest.MonkeyPatch, world: Path) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(storage.os, "fsync", fsync)


def little_patience(patch: pytest.MonkeyPatch, world: Path) -> None:
    pytest.importorskip("distributed")
    patch.setattr(executor, "_DASK_PATIENCE_SECONDS", 1)


def refuses(*names: str) -> Patch:
    """The operating system denies access to the files of these names: to root, too, who does not mind permissions."""

    def patch(patch: pytest.MonkeyPatch, world: Path) -> None:
        import builtins
        import io

        for module in (builtins, io):
            real = module.open

            def denied(file: Any, *arguments: Any, real: Any = real, **options: Any) -> Any:
                if isinstance(file, str | Path) and Path(file).name in names:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
                return real(file, *arguments, **options)

            patch.setattr(module, "open", denied)

    return patch


def folders_are_read_only(patch: pytest.MonkeyPatch, world: Path) -> None:
    def mkdir(self: Path, *arguments: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    patch.setattr(Path, "mkdir", mkdir)


def vanishes(patch: pytest.MonkeyPatch, world: Path) -> None:
    """The input is there when it is looked at first, and gone when it is read."""
    make = run.make_documents

    def gone(path: str, *_: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def make_late(job: Any) -> Any:
        patch.setattr(files, "open", gone, raising=False)
        return make(job)

    patch.setattr(run, "make_documents", make_late)


def end(job: Any) -> None:
    os._exit(9)


def worker_dies(patch: pytest.MonkeyPatch, world: Path) -> None:
    patch.setattr(plan, "_SMALLEST_PART", 100)
    patch.setattr(run, "_LITTLE_WITH_STEPS", 0)
    patch.setattr(run, "make_documents", end)


def in_preparation(patch: pytest.MonkeyPatch, world: Path) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.enter_context(held(Path("new").resolve(), wait=False))
    return stack


CASES = [
    # Files of text, and their preparation
    case("missing file", f"{PREPARE} data.files={{w}}/missing.txt", 2, "data.files={w}/missing.txt", "no such file"),
    case("relative missing file", f"{PREPARE} data.files=missing.txt", 2, "data.files=missing.txt", "relative to"),
    case("no match", f"{PREPARE} data.files={{w}}/*.md", 2, "data.files={w}/*.md", "no file matches"),
    case("unreadable file", f"{PREPARE} data.files={{w}}/text.txt", 2, "denied", patch=refuses("text.txt")),
    case("empty file", f"{PREPARE} data.files={{w}}/empty.txt", 2, "no text in {w}/empty.txt"),
    case("folder without text", f"{PREPARE} data.files={{w}}/nothing", 2, "{w}/nothing", "no text files", ".jsonl"),
    case("binary as text", f"{PREPARE} data.files={{w}}/binary.txt", 2, "{w}/binary.txt", "binary", "byte offset 0"),
    case("UTF-16", f"{PREPARE} data.encoding=utf-8 data.files={{w}}/utf16.txt", 2,
         "{w}/utf16.txt", "UTF-16", "convert it to UTF-8"),
    case("Latin-1", f"{PREPARE} data.encoding=utf-8 data.files={{w}}/latin1.txt", 2,
         "{w}/latin1.txt", "not UTF-8", "0xfc", "iconv"),
    case("Latin-1 row", f"{PREPARE} data.encoding=utf-8 data.files={{w}}/latin1.jsonl", 2,
         "{w}/latin1.jsonl:2", "not UTF-8"),
    case("unknown encoding", f"{PREPARE} data.files={{w}}/text.txt data.encoding=klingon", 2,
         "data.encoding=klingon", "data.encoding=auto"),
    case("unknown format", f"{PREPARE} data.files={{w}}/text.docx", 2, "{w}/text.docx", "'.docx'", ".txt .md .jsonl"),
    case("row is not JSON", f"{PREPARE} data.files={{w}}/broken.jsonl", 2, "{w}/broken.jsonl:3", "not JSON"),
    case("row is a list", f"{PREPARE} data.files={{w}}/list.jsonl", 2, "{w}/list.jsonl:1", "a JSON array"),
    case("wrong field", f"{PREPARE} data.files={{w}}/rows.jsonl data.text_field=body", 2,
         "{w}/rows.jsonl:1", "'body'", "label, text", "data.text_field="),
    case("null text", f"{PREPARE} data.files={{w}}/null.jsonl", 2, "{w}/null.jsonl:2", "'text' is null"),
    case("number for a text", f"{PREPARE} data.files={{w}}/number.jsonl", 2, "{w}/number.jsonl:1", "a JSON number"),
    case("half a character", f"{PREPARE} data.files={{w}}/surrogate.jsonl", 2, "{w}/surrogate.jsonl:1", "surrogate"),
    case("nested without end", f"{PREPARE} data.files={{w}}/deep.jsonl", 2, "{w}/deep.jsonl:1", "not JSON"),
    case("pipe", f"{PREPARE} data.files={{w}}/pipe.txt", 2, "{w}/pipe.txt", "a pipe", "regular file"),
    case("no field", f"{PREPARE} data.files={{w}}/rows.jsonl data.text_field=", 2, "data.text_field=[]"),
    case("path without end", f"{PREPARE} data.files={'x' * 5000}", 2, "xxx", "too long"),
    case("cut archive", f"{PREPARE} data.files={{w}}/cut.jsonl.gz", 2, "{w}/cut.jsonl.gz", "a damaged .gz file"),
    case("line too long", f"{PREPARE} data.files={{w}}/rows.jsonl data.max_row_bytes=10", 2,
         "{w}/rows.jsonl:1", "data.max_row_bytes"),
    case("too many bad rows", f"{PREPARE} data.files={{w}}/null.jsonl data.on_error=skip data.max_errors=0", 2,
         "{w}/null.jsonl:2", "data.max_errors"),
    case("damaged archive among good rows",
         f"{PREPARE} data.files=[{{w}}/rows.jsonl,{{w}}/cut.jsonl.gz] data.on_error=skip data.max_errors=0", 2,
         "{w}/cut.jsonl.gz", "a damaged .gz file", "after 0 errors", "data.max_errors="),
    case("nothing but bad rows", f"{PREPARE} data.files={{w}}/list.jsonl data.on_error=skip", 2,
         "no text in {w}/list.jsonl"),
    case("group that is not there", f"{PREPARE} data.files={{w}}/rows.jsonl data.group_field=site", 2,
         "{w}/rows.jsonl:1", "'site'", "label, text", "data.group_field="),
    case("file that vanishes while it is read", f"{PREPARE} data.files={{w}}/text.txt", 2,
         "{w}/text.txt", "No such file", patch=vanishes),
    case("file that vanishes, errors skipped", f"{PREPARE} data.files={{w}}/text.txt data.on_error=skip", 2,
         "{w}/text.txt", patch=vanishes),
    case("worker that dies", f"{PREPARE} data.files=[{{w}}/text.txt,{{w}}/rows.jsonl] executor.workers=2", 5,
         "worker", "memory", "executor.workers", patch=worker_dies),
    case("two preparations of one output", f"{PREPARE} data.files={{w}}/text.txt", 7,
         "new is being prepared by process", "output=", patch=in_preparation),
    case("source without files", f"{PREPARE} data.sources.web.weight=2", 2, "data.sources.web", "files"),
    case("rules that nothing passes", f"{PREPARE} data.files={{w}}/text.txt clean.length.min_characters=9999", 2,
         "none of 1 documents is left", "length:short"),
    case("evaluation set that is not there", f"{PREPARE} data.files={{w}}/text.txt decontaminate.files=gone.txt", 2,
         "decontaminate.files=gone.txt"),
    case("group and tail", f"{PREPARE} data.files={{w}}/rows.jsonl data.group_field=label data.split_by=tail", 2,
         "data.split_by=tail", "data.group_field="),
    case("everything held out",
         f"{PREPARE} data.files={{w}}/text.txt data.validation_fraction=0.6 data.test_fraction=0.4", 2,
         "data.validation_fraction=0.6", "data.test_fraction=0.4"),
    case("cluster without an address", f"{PREPARE} data.files={{w}}/text.txt executor=dask", 2, "executor.address="),
    case("cluster that does not answer",
         f"{PREPARE} data.files={{w}}/text.txt executor=dask executor.address=tcp://127.0.0.1:9", 2,
         "executor.address=tcp://127.0.0.1:9", "1 seconds", patch=little_patience),
    # Which data
    case("no data", "pretrain train.max_steps=1 run.dir=new", 2, "no data", "data.files=", "data.path=", "data=stdlib"),
    case("settings of raw text for a set", f"{PRETRAIN} data.validation_fraction=0.2", 2,
         "data.validation_fraction= with data.path=", "prepare"),
    case("two sources", f"{PRETRAIN} data.files={{w}}/text.txt", 2, "data.path={set}", "data.files=", "exactly one"),
    case("no files", f"{PREPARE} data.files=", 2, "no data", "data.files="),
    case("no output", "prepare data.files={w}/text.txt output=", 2, "output=", "must not be empty"),
    case("set to prepare", f"{PREPARE} data.path={{set}}", 2, "data.path={set}", "data.files="),
    case("no set", f"{PRETRAIN} data.path={{w}}/missing", 2, "{w}/missing", "no such folder", "bigtrain prepare"),
    case("file for a set", f"{PRETRAIN} data.path={{w}}/text.txt", 2, "{w}/text.txt", "it is a file"),
    case("folder that is no set", f"{PRETRAIN} data.path={{w}}/nothing", 2, "{w}/nothing", "no manifest.json"),
    case("cut set", f"{PRETRAIN} data.path={{w}}/cut-set", 2, "train.bin has", "prepare it again"),
    case("set with foreign ids", f"{PRETRAIN} data.path={{w}}/foreign-set", 2, "the token 999", "ends at 256"),
    case("too many entries for the shards", f"{PRETRAIN} data.path={{w}}/wide-set", 2, "uint16", "70000"),
    # Tokenizers
    case("set with another kind", f"{PRETRAIN} tokenizer=chars", 2, "data.path={set}", "tokenizer=chars", "bytes"),
    case("set with another file", f"{PRETRAIN} tokenizer=file tokenizer.path={{w}}/chars", 2,
         "tokenizer.path={w}/chars", "tokenizer=bytes"),
    case("set for another checkpoint", f"{FINETUNE} init_from={{w}}/chars-model", 2,
         "the checkpoint's tokenizer", "tokenizer=bytes", "model.resize_vocab=true"),
    case("tokenizer too large for the model", f"{PRETRAIN} model.vocab_size=100", 2,
         "model.vocab_size=100", "257 entries", "model.vocab_size=257"),
    case("no tokenizer named", f"{PREPARE} data.files={{w}}/text.txt tokenizer=file", 2, "tokenizer.path="),
    case("no tokenizer there", f"{PREPARE} data.files={{w}}/text.txt tokenizer=file tokenizer.path={{w}}/nothing", 2,
         "{w}/nothing", "no tokenizer.json"),
    case("no such tokenizer", f"{PREPARE} data.files={{w}}/text.txt tokenizer=file tokenizer.path={{w}}/gone", 2,
         "{w}/gone", "no such"),
    case("tokenizer to compare that is not there",
         f"{PREPARE} data.files={{w}}/text.txt tokenizer.compare=[klingon]", 2,
         "tokenizer.compare=[klingon]", "unigram", "or a path"),
    case("tokenizer.json is not JSON",
         f"{PREPARE} data.files={{w}}/text.txt tokenizer=file tokenizer.path={{w}}/text.txt",
         2, "{w}/text.txt", "JSON"),
    case("tokenizer.json of something else",
         f"{PREPARE} data.files={{w}}/text.txt tokenizer=file tokenizer.path={{w}}/object.json", 2, "{w}/object.json"),
    case("vocabulary too small", f"{PREPARE} data.files={{w}}/text.txt tokenizer=bpe tokenizer.vocab_size=200", 2,
         "tokenizer.vocab_size=200", "at least 257"),
    case("vocabulary too large", f"{PREPARE} data.files={{w}}/text.txt tokenizer=bpe tokenizer.vocab_size=1e18", 2,
         "tokenizer.vocab_size=1e+18", "at most 10000000"),
    # Shapes and batches
    case("rows longer than the data", f"{PRETRAIN} train.seq_len=100000 model.max_seq_len=100000", 2,
         "train.seq_len=100000", "tokens of training data", "or less"),
    case("rows longer than the model", f"{PRETRAIN} train.seq_len=64", 2, "train.seq_len=64", "model.max_seq_len=32"),
    case("batch is no whole number of rows", f"{PRETRAIN} train.batch_rows=null train.batch_tokens=100", 2,
         "train.batch_tokens=100", "32 tokens", "train.batch_tokens=96"),
    case("two batches", f"{PRETRAIN} train.batch_tokens=64", 2, "train.batch_tokens=64", "train.batch_rows=8"),
    case("micro-batch", f"{PRETRAIN} train.micro_batch_rows=3", 2, "train.micro_batch_rows=3", "divisor of 8"),
    case("batch and shards", f"{PRETRAIN} parallel.reduction=exact train.batch_rows=6", 2,
         "6 rows", "parallel.shards=4"),
    case("shards", f"{PRETRAIN} parallel.reduction=exact parallel.shards=3", 2, "parallel.shards=3", "power of two"),
    case("heads", f"{PRETRAIN} model.n_heads=3", 2, "model.n_heads=3", "model.dim=32", "divide", "30"),
    case("key/value heads", f"{PRETRAIN} model.n_kv_heads=4", 2, "model.n_kv_heads=4", "model.n_heads=2"),
    case("negative width", f"{PRETRAIN} model.dim=-4", 2, "model.dim=-4", "at least 1"),
    case("no tokens in a row", f"{PRETRAIN} train.seq_len=0", 2, "train.seq_len=0", "at least 1"),
    case("width without end", f"{PRETRAIN} model.dim=1e12", 2, "model.dim=", "at most"),
    case("batch without end", f"{PRETRAIN} train.batch_rows=1e12", 2, "train.batch_rows=", "at most"),
    case("threads without end", f"{PRETRAIN} parallel.threads=1000000", 2, "parallel.threads=1000000", "at most"),
    case("model beyond the memory", f"{PRETRAIN} model.dim=100000 model.n_layers=40", 2, "parameters on cpu", "GB"),
    # Training
    case("negative rate", f"{PRETRAIN} optimizer.lr=-1", 2, "optimizer.lr=-1", "above 0"),
    case("rate is not a number", f"{PRETRAIN} optimizer.lr=nan", 2, "optimizer.lr=nan", "finite"),
    case("no end", f"{PRETRAIN} train.max_steps=null", 2, "no limit", "train.max_steps="),
    case("Nesterov without momentum", f"{PRETRAIN} optimizer=sgd optimizer.momentum=0 optimizer.nesterov=true", 2,
         "optimizer.nesterov=true", "optimizer.momentum=0"),
    case("warm-up too short to plan", f"{PRETRAIN} train.max_minutes=1", 2,
         "schedule.warmup_steps=3", "train.max_minutes=1", "schedule.warmup_steps=16"),
    case("unknown metric", f"{PRETRAIN} train.metric=accuracy", 2, "train.metric=accuracy", "bits_per_byte"),
    case("sample prompt too long", f"{PRETRAIN} train.sample_prompts=[{'a' * 40}]", 2,
         "train.sample_prompts", "40 tokens", "model.max_seq_len=32"),
    case("empty sample prompt", f"{PRETRAIN} 'train.sample_prompts=[\"\"]'", 2, "train.sample_prompts=''", "text"),
    case("sample prompts of a classifier", f"{CLASSIFY} train.sample_prompts=x", 2, "train.sample_prompts", "classify"),
    case("no such device", f"{PRETRAIN} device=cuda", 2, "device=cuda", "device=cpu"),
    case("error with --json", f"{PRETRAIN} --json train.seq_len=64", 2, "train.seq_len=64"),
    # Keys
    case("misspelt key", f"{PRETRAIN} train.max_step=3", 2, "train.max_step=3", "did you mean train.max_steps=3"),
    case("key without its section", f"{PRETRAIN} lr=0.1", 2, "lr=0.1", "did you mean optimizer.lr=0.1?"),
    case("foreign key", f"{PRETRAIN} learning_rate=0.1", 2, "learning_rate=0.1", "give optimizer.lr=RATE"),
    case("foreign key with a path", f"{PRETRAIN} training.output_dir=x", 2, "training.output_dir=x", "run.dir=DIR"),
    case("plus", f"{PRETRAIN} +train.max_steps=3", 2, "+train.max_steps=3", "drop the plus"),
    case("plus and a new key", f"{PRETRAIN} +model.rotary=true", 2, "model.rotary=true", "model has no key"),
    case("no key", f"{PRETRAIN} --lr", 2, "--lr", "--help"),
    case("no value", f"{PRETRAIN} seed", 2, "seed", "KEY=VALUE"),
    case("word for a number", f"{PRETRAIN} train.max_steps=many", 2, "train.max_steps=many", "whole number"),
    case("fraction for a whole number", f"{PRETRAIN} train.max_steps=1.5", 2, "train.max_steps=1.5", "whole number"),
    case("word for a truth value", f"{PRETRAIN} model.tied=maybe", 2, "model.tied=maybe", "true or false"),
    case("number for a section", f"{PRETRAIN} train=3", 2, "train=3", "section"),
    case("one of two moments", f"{PRETRAIN} optimizer.betas=[0.9]", 2, "optimizer.betas=[0.9]", "a list of 2"),
    case("moment of one", f"{PRETRAIN} optimizer.betas=[0.9,1.0]", 2, "optimizer.betas", "below 1"),
    case("choice", f"{PRETRAIN} device.precision=fp16", 2, "device.precision=fp16", "bf16"),
    case("option of a group", f"{PRETRAIN} optimizer=adamx", 2, "optimizer=adamx", "adamw"),
    case("sweep without -m", f"{PRETRAIN} seed=1,2", 2, "seed=1,2", "-m"),
    case("unknown verb", "pretrian data=stdlib", 2, "pretrian", "--help"),
    case("unknown option", "pretrain --fast data=stdlib", 2, "--fast", "bigtrain pretrain --help"),
    case("unknown config", "pretrain -c nanogpt", 2, "nanogpt"),
    case("no config folder", "pretrain --config-dir {w}/missing data=stdlib", 2, "{w}/missing"),
    case("environment in a YAML", "pretrain --config-dir {w}/configs recipe=environment", 2,
         "oc.env", "environment.yaml"),
    case("code in a YAML", "pretrain --config-dir {w}/configs recipe=code", 2, "_target_", "code.yaml", "data"),
    case("YAML that is none", "pretrain --config-dir {w}/configs recipe=broken", 2, "broken.yaml"),
    case("key in a YAML", "pretrain --config-dir {w}/configs recipe=misspelt", 2, "misspelt.yaml", "train.max_steps"),
    # Run folders
    case("file for a run", f"{PRETRAIN} run.dir={{w}}/text.txt", 2, "run.dir={w}/text.txt", "file"),
    case("file above a run", f"{PRETRAIN} run.dir={{w}}/text.txt/run", 2, "run.dir={w}/text.txt/run"),
    case("no folder for a run", f"{PRETRAIN} run.dir=", 2, "run.dir=", "must not be empty"),
    case("name that is a path", f"{PRETRAIN} run.dir=null run.name=../x", 2, "run.name=../x", "run.dir="),
    case("read-only folder", PRETRAIN, 2, "run.dir=new", "Read-only", patch=folders_are_read_only),
    case("run in use", f"{CONTINUE} train.max_steps=9", 7, "{w}/run", "in use by pid",
         patch=lambda patch, world: RunFolder.open(world / "run", verb="pretrain")),
    case("nothing to continue", f"{PRETRAIN} resume=must", 2, "resume=must in new", "no checkpoint"),
    case("something to continue", f"{CONTINUE} resume=never", 2, "resume=never in {w}/run", "resume=auto"),
    case("run of another verb", f"{FINETUNE} run.dir={{w}}/run", 2, "run.dir={w}/run", "bigtrain pretrain"),
    case("another rate", f"{CONTINUE} optimizer.lr=0.1 train.max_steps=9", 2,
         "optimizer.lr: 0.0003 -> 0.1", "resume.allow=[optimizer.lr]"),
    case("allowing what there is not", f"{CONTINUE} optimizer.lr=0.1 resume.allow=[nonsense]", 2,
         "resume.allow=[nonsense]", "optimizer.lr"),
    case("patience without validation data",
         "pretrain data.files={w}/text.txt data.validation_fraction=0 tokenizer=bytes run.dir=new train.max_steps=4 "
         f"train.patience_evals=2 {' '.join(TINY)}", 2, "train.patience_evals=2", "validation"),
    case("a metric without validation data",
         "pretrain data.files={w}/text.txt data.validation_fraction=0 tokenizer=bytes run.dir=new train.max_steps=4 "
         f"train.eval_train_tokens=99 {' '.join(TINY)}", 2, "train.eval_train_tokens=99", "train.eval_train_tokens=0"),
    case("another model and seed", f"{CONTINUE} seed=3 model.dim=64", 2, "model.dim: 32 -> 64", "seed: 1337 -> 3"),
    case("another length after the cool-down began", f"{CONTINUE} train.max_steps=9", 2, "9 steps", "step 3"),
    case("no intact checkpoint", "pretrain run.dir={w}/damaged-run", 2, "no intact checkpoint", "step-00000004"),
    # Checkpoints
    case("nothing to start from", f"{FINETUNE} init_from={{w}}/missing", 2, "{w}/missing", "no such folder"),
    case("no init_from", "finetune objective=causal data.path={set} train.max_steps=1", 2, "init_from"),
    case("init_from is no checkpoint", f"{FINETUNE} init_from={{w}}/nothing", 2, "{w}/nothing", "config.json"),
    case("init_from is a file", f"{FINETUNE} init_from={{w}}/text.txt", 2, "{w}/text.txt", "it is a file"),
    case("empty init_from", f"{PRETRAIN} init_from=", 2, "init_from=", "must not be empty"),
    case("shape with init_from", f"{PRETRAIN} init_from={{w}}/run", 2, "model.", "init_from={w}/run"),
    case("unsupported model", f"{GENERATE} checkpoint={{w}}/mamba prompt=x", 2, "'mamba'", "gpt2, llama, mistral"),
    case("auto_map", f"{GENERATE} checkpoint={{w}}/auto-map prompt=x", 2, "auto_map", "never run"),
    case("config.json is not JSON", f"{GENERATE} checkpoint={{w}}/not-json prompt=x", 2, "config.json", "JSON"),
    case("config.json with a wrong type", f"{GENERATE} checkpoint={{w}}/wrong-type prompt=x", 2,
         "config.json", 'hidden_size "wide"', "whole number"),
    case("labels without a number", f"{GENERATE} checkpoint={{w}}/no-number prompt=x", 2,
         "config.json", 'num_labels "x"'),
    case("layers without a list", f"{GENERATE} checkpoint={{w}}/no-list prompt=x", 2, "config.json", "layer_types 3"),
    case("heads in config.json", f"{GENERATE} checkpoint={{w}}/heads prompt=x", 2, "{w}/heads/config.json", "divide"),
    case("config.json of a giant", f"{GENERATE} checkpoint={{w}}/giant prompt=x", 2, "giant", "at most 1048576"),
    case("config.json of another shape", f"{GENERATE} checkpoint={{w}}/misshapen prompt=x", 2,
         "misshapen", "config wants"),
    case("cut weights", f"{GENERATE} checkpoint={{w}}/cut-weights prompt=x", 2, "model.safetensors", "whole"),
    case("shard missing", f"{GENERATE} checkpoint={{w}}/lost-shard prompt=x", 2, "{w}/lost-shard", "no model-00002.st"),
    case("weights that are not finite", "finetune objective=causal init_from={w}/infinite data.path={set} "
         "train.max_steps=1 device=cpu", 2, "{w}/infinite", "not finite"),
    case("pickled weights", f"{GENERATE} checkpoint={{w}}/pickled prompt=x", 2, "pickled", "code", "save_pretrained"),
    case("tokenizer of another model", f"{GENERATE} checkpoint={{w}}/alien-tokenizer prompt=x", 2,
         "{w}/alien-tokenizer", "token 256", "tokenizer of another model"),
    case("tokenizer with more entries than rows", f"{GENERATE} checkpoint={{w}}/long-tokenizer prompt=x", 2,
         "{w}/long-tokenizer", "an embedding of 320 rows", "model.resize_vocab=true"),
    case("rows for a new model", f"{PRETRAIN} model.resize_vocab=true", 2, "model.resize_vocab=true", "init_from="),
    case("another tokenizer with init_from",
         "pretrain data.files={w}/text.txt init_from={w}/run tokenizer=chars run.dir=new train.max_steps=4", 2,
         "tokenizer=chars with init_from={w}/run", "model.resize_vocab=true"),
    case("shape for a model that has one", f"{FINETUNE} model.dim=64", 2, "model.dim=64", "model has no key"),
    case("window for another shape", f"{PRETRAIN} model.sliding_window=8", 2, "model.sliding_window=8", "mistral"),
    case("factor without a kind", f"{PRETRAIN} model.rope_scaling.factor=2", 2,
         "model.rope_scaling.factor=2.0", "model.rope_scaling.kind=none", "linear or llama3 or yarn"),
    case("no weights", f"{GENERATE} checkpoint={{w}}/no-weights prompt=x", 2, "no model.safetensors"),
    case("checkpoint without model/", f"{GENERATE} checkpoint={{w}}/no-model prompt=x", 2, "{w}/no-model"),
    case("damaged run", f"{GENERATE} checkpoint={{w}}/damaged-run prompt=x", 2, "no intact", "99 bytes"),
    # Labelled rows
    case("no labelled rows", "finetune objective=classify init_from={w}/run train.max_steps=1", 2, "data.train="),
    case("labelled rows missing", f"{CLASSIFY} data.train={{w}}/missing.csv", 2, "{w}/missing.csv", "No such file"),
    case("folder for labelled rows", f"{CLASSIFY} data.train={{w}}/folder.csv", 2, "{w}/folder.csv", "directory"),
    case("empty csv", f"{CLASSIFY} data.train={{w}}/empty.csv", 2, "{w}/empty.csv", "empty"),
    case("header only", f"{CLASSIFY} data.train={{w}}/header.csv", 2, "{w}/header.csv", "no rows"),
    case("column twice", f"{CLASSIFY} data.train={{w}}/twice.csv", 2, "{w}/twice.csv:1", "'text' twice"),
    case("missing column", f"{CLASSIFY} data.label_field=class", 2,
         "labels.csv:2", "'class'", "label, text", "data.label_field="),
    case("too many fields", f"{CLASSIFY} data.train={{w}}/ragged.csv", 2, "{w}/ragged.csv:3", "3 fields", "label"),
    case("open quote", f"{CLASSIFY} data.train={{w}}/quote.csv", 2, "{w}/quote.csv:", "quotes"),
    case("one label", f"{CLASSIFY} data.train={{w}}/one.csv", 2, "{w}/one.csv", "two labels"),
    case("empty label", f"{CLASSIFY} data.train={{w}}/unlabelled.csv", 2, "{w}/unlabelled.csv:2", "is empty"),
    case("label that training has not seen", f"{CLASSIFY} data.validation={{w}}/unseen.csv", 2,
         "{w}/unseen.csv:2", "'ugly'", "bad, good"),
    case("label that the checkpoint has not seen", f"{CLASSIFIER} data.files={{w}}/unseen.csv", 2,
         "{w}/unseen.csv:2", "'ugly'", "bad, good"),
    case("tag that training has not seen", f"{TAG} data.validation={{w}}/tags.jsonl", 2,
         "{w}/tags.jsonl:2, word 'sea'", "'B-LAC' (is 'B-LOC' meant?)"),
    case("words without tags", f"{TAG} data.train={{w}}/labels.csv", 2, "{w}/labels.csv:1: one column", "its tag"),
    case("more tags than words", f"{TAG} data.validation={{w}}/more_tags.jsonl", 2,
         "{w}/more_tags.jsonl:1", "2 words", "3 tags"),
    case("no list of words", f"{TAG} data.train={{w}}/rows.jsonl", 2, "{w}/rows.jsonl:1", "'words'", "label, text"),
    case("text for a classifier", f"{CLASSIFIER} data.path={{set}}", 2, "data.path= with checkpoint= of a classifier"),
    case("labels for a language model", f"{EVALUATE} data.files={{w}}/labels.csv data.text_field=label_text", 2,
         "{w}/labels.csv:2", "'label_text'", "label, text"),
    case("label field for a language model", f"{EVALUATE} data.files={{w}}/rows.jsonl data.label_field=label", 2,
         "data.label_field", "language model", "no labels"),
    case("labels for new text", f"{FINETUNE} data.train={{w}}/labels.csv", 2, "data.train=", "objective=causal"),
    # Evaluate and generate
    case("missed gate", f"{EVALUATE} data.path={{set}} gates.loss=<0.1", 3, "missed", "loss < 0.1"),
    case("unknown metric in a gate", f"{EVALUATE} data.path={{set}} gates.accuracy=>0.1", 2,
         "gates.accuracy", "bits_per_byte"),
    case("gate that is none", f"{EVALUATE} data.path={{set}} gates.loss=low", 2, "gates.loss=low", ">=0.9"),
    case("part of a set", f"{EVALUATE} data.path={{set}} data.split=test", 2, "data.split=test", "0 tokens"),
    case("no such part", f"{EVALUATE} data.path={{set}} data.split=dev", 2, "data.split=dev", "validation, test"),
    case("file for a report", f"{EVALUATE} data.path={{set}} output={{w}}/text.txt", 2, "output={w}/text.txt"),
    case("no prompt", GENERATE, 2, "no prompt", "-p"),
    case("empty prompt", f"{GENERATE} -p ''", 2, "empty prompt"),
    case("two prompts", f"{GENERATE} -p x prompt=y", 2, "prompt=", "-p", "one of the two"),
    case("prompt too long", f"{GENERATE} prompt={'a' * 40}", 2, "40 tokens", "model.max_seq_len=32"),
    case("text from a classifier", f"{GENERATE} checkpoint={{w}}/classifier prompt=x", 2, "classifier", "bad, good"),
    case("no checkpoint", "generate prompt=x", 2, "checkpoint"),
    case("temperature", f"{GENERATE} prompt=x temperature=-1", 2, "temperature=-1", "at least 0"),
    case("unknown sampling key", f"{GENERATE} prompt=x top_n=3", 2, "top_n", "top_k"),
    case("prompt and prompts", f"{GENERATE} prompt=x prompts={{w}}/rows.jsonl", 2, "prompt= and prompts="),
    case("prompts without output", f"{GENERATE} prompts={{w}}/rows.jsonl", 2, "without output=", "output=FILE.jsonl"),
    case("row without a prompt", f"{GENERATE} prompts={{w}}/rows.jsonl output=new", 2, "{w}/rows.jsonl:1", '"prompt"'),
    case("file of prompts that is not there", f"{GENERATE} prompts={{w}}/missing.jsonl output=new", 2,
         "prompts={w}/missing.jsonl", "no such file"),
    case("output in the way", f"{GENERATE} prompts={{w}}/prompts.jsonl output={{w}}/text.txt", 2,
         "output={w}/text.txt", "nothing is overwritten"),
    case("chat without a template", f"{GENERATE} prompt=x chat=true", 2, "chat_template", "prompt="),
    case("beams that draw", f"{GENERATE} prompt=x beams=2 top_p=0.5", 2, "beams=2 with top_p=0.5"),
    case("several greedy texts", f"{GENERATE} prompt=x n=2 temperature=0", 2, "n=2 with temperature=0"),
    case("prompt without a mask", f"{FILL} prompt=x", 2, "without [MASK]", "write [MASK]"),
    case("mask beyond the context", f"{FILL} prompt='{'a ' * 40}[MASK]'", 2, "43 tokens", "model.max_seq_len=20"),
    case("text from a masked model", f"{FILL} prompt=[MASK] top_p=0.5", 2, "a masked model with top_p=0.5"),
    case("the loss of a bare encoder", "evaluate checkpoint={w}/bare device=cpu data.path={set}", 2,
         "{w}/bare: no head", "objective=masked"),
    case("masks for a bare encoder", "generate checkpoint={w}/bare device=cpu prompt=[MASK]", 2,
         "{w}/bare: no head", "objective=masked"),
    case("half of a pair in a prompt", f"{GENERATE} prompts={{w}}/half.jsonl output=new", 2,
         "{w}/half.jsonl:1: prompt", "surrogate"),
    case("half of a pair in a message", f"{FILL} prompts={{w}}/half_said.jsonl output=new", 2,
         "{w}/half_said.jsonl:1: messages", "surrogate"),
    case("no messages", f"{GENERATE} prompts={{w}}/silent.jsonl output=new", 2, "{w}/silent.jsonl:1", "empty"),
    case("output below a file", f"{GENERATE} prompts={{w}}/prompts.jsonl output={{w}}/text.txt/new", 2,
         "output={w}/text.txt/new", "a file is in the way"),
    case("messages for a masked model", f"{FILL} prompts={{w}}/messages.jsonl output=new", 2,
         "{w}/messages.jsonl:1", "messages for a masked model"),
    # The disk
    case("full disk, prepare", f"{PREPARE} data.files={{w}}/text.txt", 6, "no space left", "new", patch=disk_is_full),
    case("full disk, training", PRETRAIN, 6, "no space left", "new", patch=disk_is_full),
    case("prepared set in the way", f"{PREPARE} data.files={{w}}/text.txt output={{w}}/nothing/../labels.csv", 2,
         "output="),
    case("other set in the way", f"{PREPARE} data.files={{w}}/text.txt output={{set}}", 2,
         "output={set}", "overwritten"),
    case("read-only place for a set", f"{PREPARE} data.files={{w}}/text.txt", 2, "new", "Read-only", "output=DIR",
         patch=folders_are_read_only),
]  # fmt: skip


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, prepared_set: Path) -> Path:
    """A folder full of things that are wrong, and a run and a classifier that are not."""
    w = tmp_path_factory.mktemp("wörld of 坏 files")
    for name in ("nothing", "folder.csv", "configs/recipe"):
        (w / name).mkdir(parents=True)
    _bad_files(w)
    lines = [*TINY, f"data.path={prepared_set}", "train.max_steps=4", "train.save_every_steps=4"]
    run_verb("pretrain", [*lines, f"run.dir={w / 'run'}"])
    labelled = ["train.seq_len=32", "train.batch_rows=4", "train.max_steps=2", "device=cpu"]
    labelled += [f"init_from={w / 'run'}", f"data.train={w / 'labels.csv'}", f"run.dir={w / 'classifier'}"]
    run_verb("finetune", ["objective=classify", *labelled])
    _bad_checkpoints(w)
    _bad_sets(w, prepared_set)
    return w


def _bad_files(w: Path) -> None:
    good = "".join(json.dumps({"text": f"a cat {n}", "label": "good" if n % 2 else "bad"}) + "\n" for n in range(8))
    contents: dict[str, str | bytes] = {
        "text.txt": "The cat sleeps under the old tree.\n" * 40,
        "text.docx": "The cat sleeps.\n",
        "empty.txt": "",
        "binary.txt": bytes(range(256)),
        "utf16.txt": "Käse".encode("utf-16"),
        "latin1.txt": "Übermut, Müll\n".encode("latin-1").replace("Ü".encode("latin-1"), b"U"),
        "latin1.jsonl": good.splitlines(keepends=True)[0].encode() + '{"text": "Müll"}\n'.encode("latin-1"),
        "rows.jsonl": good,
        "prompts.jsonl": '{"prompt": "a"}\n',
        "half.jsonl": '{"prompt": "a\\ud800"}\n',
        "half_said.jsonl": '{"messages": [{"role": "user", "content": "\\ud800"}]}\n',
        "silent.jsonl": '{"messages": []}\n',
        "messages.jsonl": '{"messages": [{"role": "user", "content": "a"}]}\n',
        "broken.jsonl": '{"text": "a"}\n\n{"text": "a"\n',
        "list.jsonl": '["a", "b"]\n',
        "null.jsonl": '{"text": "a"}\n{"text": null}\n',
        "number.jsonl": '{"text": 3}\n',
        "surrogate.jsonl": '{"text": "\\ud800"}\n',
        "deep.jsonl": "[" * 100000 + "\n",
        "cut.jsonl.gz": gzip.compress(good.encode())[:-20],
        "object.json": '{"a": 1}',
        "labels.csv": "text,label\n" + "a bad cat,bad\na good cat,good\n" * 4,
        "empty.csv": "",
        "header.csv": "text,label\n",
        "twice.csv": "text,text\na,b\n",
        "ragged.csv": "text,label\na cat,bad\na cat, a dog,good\n",
        "quote.csv": 'text,label\n"a cat,bad\na dog,good\n',
        "one.csv": "text,label\na cat,bad\na dog,bad\n",
        "unlabelled.csv": "text,label\na cat,\n",
        "tags.conll": "the O\nsea B-LOC\n\ncat O\n" * 4,
        "tags.jsonl": '{"words": ["a"], "tags": ["O"]}\n{"words": ["a", "sea"], "tags": ["O", "B-LAC"]}\n',
        "more_tags.jsonl": '{"words": ["a", "sea"], "tags": ["O", "O", "O"]}\n',
        "unseen.csv": "text,label\nan ugly cat,ugly\n",
        "configs/recipe/environment.yaml": "# @package _global_\nrun:\n  name: ${oc.env:HOME}\n",
        "configs/recipe/code.yaml": "# @package _global_\nmodel:\n  _target_: os.system\n",
        "configs/recipe/broken.yaml": "# @package _global_\nmodel: [1\n",
        "configs/recipe/misspelt.yaml": "# @package _global_\ntrain:\n  max_step: 3\n",
    }
    os.mkfifo(w / "pipe.txt")
    for name, content in contents.items():
        (w / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _bad_checkpoints(w: Path) -> None:
    good = w / "run" / "checkpoints" / "step-00000004" / "model"

    def copy(name: str, **changes: Any) -> Path:
        shutil.copytree(good, w / name)
        config = json.loads((good / "config.json").read_text())
        (w / name / "config.json").write_text(json.dumps(config | changes))
        return w / name

    copy("mamba", model_type="mamba")
    copy("auto-map", auto_map={"AutoModel": "code.py--Model"})
    copy("wrong-type", hidden_size="wide")
    copy("no-number", architectures=["Qwen3ForSequenceClassification"], num_labels="x")
    copy("no-list", layer_types=3)
    copy("heads", num_attention_heads=5)
    copy("giant", hidden_size=10**9)
    copy("misshapen", intermediate_size=64)
    (copy("not-json") / "config.json").write_text("{")
    (copy("no-weights") / "model.safetensors").unlink()
    cut = copy("cut-weights") / "model.safetensors"
    os.truncate(cut, cut.stat().st_size // 2)
    chars = train_tokenizer(CharsConfig(), ["another alphabet"])
    chars.save(copy("chars-model", bos_token_id=chars.eos_id, eos_token_id=chars.eos_id))
    chars.save(copy("alien-tokenizer"))
    train_tokenizer(CharsConfig(), ["".join(map(chr, range(33, 533)))]).save(copy("long-tokenizer"))
    (copy("lost-shard") / "model.safetensors").rename(w / "lost-shard" / "model-00001.st")
    shards = {"a": "model-00001.st", "b": "model-00002.st"}
    (w / "lost-shard" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    tensors = load_file(copy("infinite") / "model.safetensors")
    tensors["model.norm.weight"][0] = math.inf
    save_file(tensors, w / "infinite" / "model.safetensors")
    (copy("pickled") / "model.safetensors").rename(w / "pickled" / "pytorch_model.bin")
    (w / "masked").mkdir()
    save_model(w / "masked", encoder("bert"), wordpiece())
    shutil.copytree(w / "masked", w / "bare")
    tensors = load_file(w / "masked" / "model.safetensors")
    backbone = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
    save_file(backbone, w / "bare" / "model.safetensors")
    (w / "chars").mkdir()
    train_tokenizer(CharsConfig(), ["another alphabet"]).save(w / "chars")
    shutil.copytree(good.parent, w / "no-model")
    shutil.rmtree(w / "no-model" / "model")
    shutil.copytree(w / "run", w / "damaged-run")
    os.truncate(w / "damaged-run" / "checkpoints" / good.parent.name / "model" / "model.safetensors", 99)


def _bad_sets(w: Path, good: Path) -> None:
    for name in ("cut-set", "foreign-set", "wide-set"):
        shutil.copytree(good, w / name)
    os.truncate(w / "cut-set" / "train.bin", 100)
    with open(w / "foreign-set" / "train.bin", "r+b") as file:
        file.write((999).to_bytes(2, "little"))
    manifest = json.loads((good / "manifest.json").read_text())
    manifest["tokenizer"]["vocab_size"] = 70000
    (w / "wide-set" / "manifest.json").write_text(json.dumps(manifest))


def files_in(*folders: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all files and folders, but for a run's log and lock."""
    found = [path for folder in folders for path in sorted(folder.rglob("*"))]
    kept = [path for path in found if path.name not in ("log.txt", ".lock")]
    return {str(p): (0, 0) if p.is_dir() else (p.stat().st_size, p.stat().st_mtime_ns) for p in kept}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input(
    case: Case,
    world: Path,
    prepared_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def placed(text: str) -> str:
        return text.format(w=world, set=prepared_set)

    monkeypatch.chdir(tmp_path)
    begun = case.patch(monkeypatch, world) if case.patch else None
    before = files_in(tmp_path, world, prepared_set.parent)
    try:
        code = main([placed(word) for word in shlex.split(case.command)])
        after = files_in(tmp_path, world, prepared_set.parent)
    finally:
        if begun:
            begun.close()
    out, err = capfd.readouterr()
    lines = err.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    block = "\n".join(lines[starts[0] :]) if starts else ""
    assert len(starts) == 1, err
    assert "Traceback" not in err
    assert all(line.startswith("  ") for line in lines[starts[0] + 1 :]), err
    assert not [word for word in map(placed, case.message) if word not in block], block
    assert code == case.code, block
    assert "remedy: " in block or code != 2, block
    assert out == "" or code == 3
    assert after == before


@pytest.mark.parametrize("cause", ["optimizer.lr=1e39", "model.rope_theta=1e-300"])
def test_numbers_that_are_not_finite(
    cause: str, prepared_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    lines = [
        *TINY,
        f"data.path={prepared_set}",
        f"run.dir={run}",
        "train.max_steps=4",
        "train.save_every_steps=1",
        cause,
    ]
    assert main(["pretrain", *lines]) == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "not finite" in err
    assert "remedy: lower optimizer.lr" in err
    assert json.loads((run / "status.json").read_text())["state"] == "diverged"
    assert not list(run.rglob("*.tmp"))
    for weights in run.glob("checkpoints/step-*/model/*.safetensors"):
        assert all(np.isfinite(tensor).all() for tensor in load_file(weights).values())


def test_disk_fills_at_a_checkpoint(
    prepared_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run, sync_file = tmp_path / "run", storage.sync_file

    def full_at_step_4(path: Path) -> None:
        if "step-00000004" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_file(path)

    lines = [*TINY, f"data.path={prepared_set}", f"run.dir={run}", "train.max_steps=4", "train.save_every_steps=2"]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "sync_file", full_at_step_4)
        assert main(["pretrain", *lines]) == 6
    out, err = capfd.readouterr()
    assert out == ""
    assert "error: no space left" in err
    assert [path.name for path in run.glob("checkpoints/step-*")] == ["step-00000002"]
    assert main(["pretrain", *lines]) == 0
    assert "continuing at step 2" in capfd.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("verb", ["prepare", "pretrain"])
def test_small_disk(
    verb: str, small_disk: Path, prepared_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The cat sleeps under the old tree.\n" * 40_000)
    lines = [*TINY, f"data.path={prepared_set}", f"run.dir={small_disk / 'run'}", "train.max_steps=4"]
    if verb == "prepare":
        lines = [f"data.files={text}", "tokenizer=bytes", f"output={small_disk / 'set'}"]
    assert main([verb, *lines]) == 6
    out, err = capfd.readouterr()
    assert out == ""
    assert str(small_disk) in err
    assert "free" in err
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize(
    ("words", "closed", "code", "out"),
    [
        ("configs", ">&-", 0, ""),
        ("pretrain sed=3", "2>&-", 2, ""),
        ("generate checkpoint=x -p -", "<&-", 2, ""),
        ("configs", "| true", 0, ""),
    ],
)
def test_closed_streams(words: str, closed: str, code: int, out: str) -> None:
    line = f"set -o pipefail; {shlex.quote(sys.executable)} -m bigtrain {words} {closed}"
    done = subprocess.run(["bash", "-c", line], env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
