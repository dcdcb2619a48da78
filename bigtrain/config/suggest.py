"""Unknown keys: which one was meant. Names from elsewhere are answered with ours; there are no aliases."""

from __future__ import annotations

import dataclasses
import difflib

from bigtrain.config.fields import Plain, entry_class, keys, lookup
from bigtrain.config.overrides import Override
from bigtrain.errors import UserError
from bigtrain.schema import CHOICES, ROOTS

_BATCH = "train.batch_rows=ROWS or train.batch_tokens=TOKENS: the global batch, at any number of processes"
_ACCUMULATION = "there is none: the batch is global, and train.micro_batch_rows=ROWS is what is computed at once"
_PRECISION = "device.precision=bf16 or device.precision=fp32"
_NO_TRACKER = "there is none: metrics are in the run folder, in metrics.jsonl and report.html"
_WEIGHTS = "init_from=PATH for training, checkpoint=PATH for evaluate and generate"

# Names that people bring -> what to give here. Every `key=` below exists in some verb; a test holds that.
FOREIGN: dict[str, str] = {
    "output_dir": "run.dir=DIR for training, output=DIR for prepare and evaluate",
    "out_dir": "run.dir=DIR for training, output=DIR for prepare and evaluate",
    "save_dir": "run.dir=DIR",
    "logging_dir": "run.dir=DIR: logs lie in the run folder",
    "run_name": "run.name=NAME",
    "learning_rate": "optimizer.lr=RATE",
    "max_lr": "optimizer.lr=RATE",
    "min_lr": "schedule.final_ratio=SHARE: the last rate as a share of the peak",
    "block_size": "train.seq_len=TOKENS, and model.max_seq_len=TOKENS for what the model is made for",
    "context_length": "train.seq_len=TOKENS, and model.max_seq_len=TOKENS for what the model is made for",
    "max_seq_length": "train.seq_len=TOKENS, and model.max_seq_len=TOKENS for what the model is made for",
    "max_length": "train.seq_len=TOKENS for training, max_new_tokens=TOKENS for generate",
    "n_positions": "model.max_seq_len=TOKENS",
    "max_position_embeddings": "model.max_seq_len=TOKENS",
    "n_embd": "model.dim=WIDTH",
    "d_model": "model.dim=WIDTH",
    "hidden_size": "model.dim=WIDTH",
    "embed_dim": "model.dim=WIDTH",
    "n_layer": "model.n_layers=BLOCKS",
    "num_layers": "model.n_layers=BLOCKS",
    "num_hidden_layers": "model.n_layers=BLOCKS",
    "n_head": "model.n_heads=HEADS",
    "num_heads": "model.n_heads=HEADS",
    "num_attention_heads": "model.n_heads=HEADS",
    "num_key_value_heads": "model.n_kv_heads=HEADS",
    "intermediate_size": "model.mlp_dim=WIDTH",
    "ffn_dim": "model.mlp_dim=WIDTH",
    "tie_word_embeddings": "model.tied=true",
    "rms_norm_eps": "model.norm_eps=EPSILON",
    "layer_norm_eps": "model.norm_eps=EPSILON",
    "max_iters": "train.max_steps=STEPS",
    "num_steps": "train.max_steps=STEPS",
    "total_steps": "train.max_steps=STEPS",
    "max_train_steps": "train.max_steps=STEPS",
    "epochs": "train.max_epochs=PASSES",
    "n_epochs": "train.max_epochs=PASSES",
    "max_epoch": "train.max_epochs=PASSES",
    "num_train_epochs": "train.max_epochs=PASSES",
    "max_time": "train.max_minutes=MINUTES",
    "per_device_train_batch_size": f"{_BATCH}; train.micro_batch_rows=ROWS is what a process computes at once",
    "per_device_eval_batch_size": "evals.batch_rows=ROWS for evaluate; in a run the evaluation uses the training batch",
    "micro_batch_size": "train.micro_batch_rows=ROWS",
    "batch_size": _BATCH,
    "train_batch_size": _BATCH,
    "global_batch_size": _BATCH,
    "gradient_accumulation_steps": _ACCUMULATION,
    "grad_accum_steps": _ACCUMULATION,
    "grad_clip": "train.clip_norm=NORM",
    "max_grad_norm": "train.clip_norm=NORM",
    "gradient_clip_val": "train.clip_norm=NORM",
    "adam_beta1": "optimizer.betas=[0.9,0.95]",
    "adam_beta2": "optimizer.betas=[0.9,0.95]",
    "beta1": "optimizer.betas=[0.9,0.95]",
    "beta2": "optimizer.betas=[0.9,0.95]",
    "adam_epsilon": "optimizer.eps=EPSILON",
    "optim": "optimizer=adamw, or another one of `bigtrain configs optimizer`",
    "warmup_iters": "schedule.warmup_steps=STEPS",
    "warmup_ratio": "schedule.warmup_steps=STEPS",
    "num_warmup_steps": "schedule.warmup_steps=STEPS",
    "lr_scheduler": "schedule=cosine, or another one of `bigtrain configs schedule`",
    "lr_scheduler_type": "schedule=cosine, or another one of `bigtrain configs schedule`",
    "decay_lr": "schedule=cosine, or another one of `bigtrain configs schedule`",
    "save_steps": "train.save_every_steps=STEPS",
    "save_interval": "train.save_every_steps=STEPS",
    "save_total_limit": "train.keep_last=CHECKPOINTS",
    "eval_steps": "train.eval_every_steps=STEPS",
    "eval_interval": "train.eval_every_steps=STEPS",
    "eval_iters": "train.eval_tokens=TOKENS",
    "logging_steps": "train.log_every_steps=STEPS",
    "log_interval": "train.log_every_steps=STEPS",
    "early_stopping_patience": "train.patience_evals=EVALUATIONS",
    "metric_for_best_model": "train.metric=METRIC",
    "bf16": _PRECISION,
    "fp16": f"{_PRECISION}; there is no fp16, which needs loss scaling",
    "dtype": _PRECISION,
    "torch_dtype": _PRECISION,
    "mixed_precision": _PRECISION,
    "tf32": "device.fp32_matmul=fast",
    "torch_compile": "device.compile=true",
    "device_map": "device=auto, device=cpu or device=cuda",
    "no_cuda": "device=cpu",
    "use_cpu": "device=cpu",
    "n_gpu": "the option --nproc N",
    "num_gpus": "the option --nproc N",
    "devices": "the option --nproc N",
    "nproc_per_node": "the option --nproc N",
    "gradient_checkpointing": "there is none: a smaller train.micro_batch_rows=ROWS saves memory",
    "ddp_find_unused_parameters": "there is none",
    "fsdp": "there is none: see the parallel.* keys",
    "num_workers": "there is none: batches are read from memory-mapped shards",
    "dataloader_num_workers": "there is none: batches are read from memory-mapped shards",
    "lora_r": "adapter=lora adapter.rank=RANK",
    "lora_alpha": "adapter=lora adapter.alpha=ALPHA",
    "lora_dropout": "adapter=lora adapter.dropout=SHARE",
    "target_modules": "adapter=lora adapter.targets=[LAYER,...]",
    "use_rslora": "adapter=lora adapter.rank_stabilised=true",
    "use_dora": "adapter=dora",
    "use_peft": "adapter=lora",
    "layerwise_lr_decay": "train.layer_lr_decay=RATIO",
    "wandb": _NO_TRACKER,
    "wandb_log": _NO_TRACKER,
    "wandb_project": _NO_TRACKER,
    "wandb_run_name": _NO_TRACKER,
    "report_to": _NO_TRACKER,
    "tensorboard": _NO_TRACKER,
    "push_to_hub": "there is none: nothing is sent anywhere",
    "trust_remote_code": "there is none: code from a checkpoint is never run",
    "model_name": _WEIGHTS,
    "model_name_or_path": _WEIGHTS,
    "pretrained_model_name_or_path": _WEIGHTS,
    "init_checkpoint": _WEIGHTS,
    "resume_from_checkpoint": "run.dir=DIR resume=auto (or resume=must): the run folder knows its newest checkpoint",
    "overwrite_output_dir": "resume=never, with another run.dir=DIR",
    "dataset": "data.files=[GLOB,...], data.path=DIR or data=stdlib",
    "dataset_name": "data.files=[GLOB,...], data.path=DIR or data=stdlib",
    "data_dir": "data.files=[GLOB,...], or data.path=DIR for a prepared set",
    "data_path": "data.path=DIR for a prepared set, data.files=[GLOB,...] for raw text",
    "train_file": "data.files=[GLOB,...] for text, data.train=FILE for labelled rows",
    "train_files": "data.files=[GLOB,...]",
    "validation_file": "data.validation=FILE for labelled rows; text is split by data.validation_fraction=SHARE",
    "text_column": "data.text_field=NAME",
    "label_column": "data.label_field=NAME",
    "tokenizer_name": "tokenizer=file tokenizer.path=FILE",
    "tokenizer_path": "tokenizer=file tokenizer.path=FILE",
    "n_vocab": "tokenizer.vocab_size=ENTRIES, or model.vocab_size=ROWS",
    "random_seed": "seed=NUMBER",
    "max_tokens_to_generate": "max_new_tokens=TOKENS",
    "do_sample": "temperature=0 for the likeliest token each time, temperature=0.8 and the like to draw",
    "num_beams": "beams=NUMBER",
    "num_return_sequences": "n=NUMBER",
    "stop_strings": "stop=[TEXT,...]",
    "num_tokens": "max_new_tokens=TOKENS for generate, train.max_tokens=TOKENS for training",
}


def unknown_key(verb: str, node: Plain, override: Override, where: str = "") -> UserError:
    """The error for a key that a verb's config does not have, with the nearest thing that there is."""
    given = f"{override}{where}"
    root = ROOTS[verb]
    section, _, leaf = override.key.rpartition(".")
    if section and dataclasses.is_dataclass(kind := lookup(root, node, section)):
        there = [key.name for key in keys(kind, {})]  # type: ignore[arg-type]
        rule = f"{section} has no key `{leaf}`; it has {', '.join(there) or 'none'}"
    else:
        rule = f"bigtrain {verb} has no key `{override.key}`"
    remedy = _meant(verb, node, override) or f"`bigtrain configs {_section(verb, override.key)}` lists the keys"
    return UserError(given, rule, remedy)


def _section(verb: str, key: str) -> str:
    first = key.partition(".")[0]
    return first if first in {field.name for field in dataclasses.fields(ROOTS[verb])} else verb


def _meant(verb: str, node: Plain, override: Override) -> str | None:
    """The remedy, by the surest hint first."""
    known = [key.name for key in keys(ROOTS[verb], node)]
    section, _, leaf = override.key.replace("-", "_").rpartition(".")
    for name, kind in CHOICES.get(section, {}).items():
        if leaf in {field.name for field in dataclasses.fields(kind)} and section in node:
            return f"that is a key of {section}={name}: give {section}={name} {override}"
    entry = entry_class(lookup(ROOTS[verb], node, section.rpartition(".")[0])) if "." in section else None
    if entry and (close := difflib.get_close_matches(leaf, [field.name for field in dataclasses.fields(entry)], n=1)):
        return f"did you mean {section}.{close[0]}={override.text}?"
    elsewhere = [key for key in known if key.rpartition(".")[2] == leaf]
    if elsewhere:
        return "did you mean " + " or ".join(f"{key}={override.text}" for key in elsewhere[:3]) + "?"
    foreign = FOREIGN.get(leaf.lower()) or FOREIGN.get(override.key.partition(".")[0].lower())
    if foreign:
        return foreign if foreign.startswith("there is none") else f"give {foreign}"
    leaves = {key.rpartition(".")[2]: key for key in reversed(known)}
    near = difflib.get_close_matches(override.key, known, n=2) or [
        leaves[name] for name in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.75)
    ]
    if near:
        return "did you mean " + " or ".join(f"{key}={override.text}" for key in near) + "?"
    others = [other for other, root in ROOTS.items() if lookup(root, {}, override.key) is not None]
    return f"it is a key of bigtrain {', '.join(others)}" if others else None
