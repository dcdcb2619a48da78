"""Contestant: transformers' Trainer on answers to questions, with the features of its run_qa example.

Rows of like length are put together (its group_by_length). Under `steptime.py` it is timed; with --save it leaves its
model.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, help="the encoder to start from")
    add("--data", type=Path, required=True, help="SQuAD's JSON")
    add("--seq-len", type=int, default=384)
    add("--overlap", type=int, default=96)
    add("--rows", type=int, default=16)
    add("--steps", type=int, default=100_000)
    add("--warmup", type=int, default=0)
    add("--lr", type=float, default=2e-4)
    add("--seed", type=int, default=0)
    add("--precision", choices=["fp32", "bf16"], default="fp32")
    add("--save", type=Path)
    return parser.parse_args()


def features(o: argparse.Namespace, tokenizer: Any) -> list[dict[str, Any]]:
    """Rows with the places of the first answer, or of [CLS] where a window does not hold it."""
    articles = json.loads(o.data.read_text(encoding="utf-8"))["data"]
    asked = [(p["context"], one) for article in articles for p in article["paragraphs"] for one in p["qas"]]
    rows = tokenizer(
        [one["question"].lstrip() for _, one in asked],
        [context for context, _ in asked],
        truncation="only_second",
        max_length=o.seq_len,
        stride=o.overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    found = []
    for row, number in enumerate(rows["overflow_to_sample_mapping"]):
        answer, offsets, sides = asked[number][1]["answers"][0], rows["offset_mapping"][row], rows.sequence_ids(row)
        begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        inside = [i for i, (a, b) in enumerate(offsets) if sides[i] == 1 and a < end and b > begin]
        whole = bool(inside) and offsets[inside[0]][0] <= begin and offsets[inside[-1]][1] >= end
        first, last = (inside[0], inside[-1]) if whole else (0, 0)
        ids = {name: rows[name][row] for name in ("input_ids", "token_type_ids", "attention_mask")}
        found.append({**ids, "start_positions": first, "end_positions": last})
    return found


def main() -> None:
    o = arguments()
    tokenizer = AutoTokenizer.from_pretrained(o.model)
    torch.manual_seed(o.seed)
    model = AutoModelForQuestionAnswering.from_pretrained(o.model)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=o.rows,
            max_steps=o.steps,
            seed=o.seed,
            use_cpu=True,
            bf16=o.precision == "bf16",
            optim="adamw_torch_fused",
            learning_rate=o.lr,
            lr_scheduler_type="linear",
            warmup_steps=o.warmup,
            weight_decay=0.01,
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length",
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
        )
        rows: Any = features(o, tokenizer)
        collator = DataCollatorWithPadding(tokenizer)
        Trainer(model=model, args=settings, train_dataset=rows, data_collator=collator).train()
    if o.save:
        model.save_pretrained(o.save)
        tokenizer.save_pretrained(o.save)


if __name__ == "__main__":
    main()
