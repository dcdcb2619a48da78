"""Contestant: transformers' Trainer on texts with labels, rows of like length together (its group_by_length).

Under `steptime.py` it is timed; with --save it leaves its model.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from bench import hf_training


def arguments() -> argparse.Namespace:
    parser = hf_training.parser(__doc__, "JSON Lines of text and label")
    parser.add_argument("--model", type=Path, required=True, help="the encoder to start from")
    parser.add_argument("--ungrouped", action="store_true", help="rows in random order, whatever their length")
    return parser.parse_args()


def main() -> None:
    o = arguments()
    tokenizer = AutoTokenizer.from_pretrained(o.model)
    with o.data.open(encoding="utf-8") as file:
        texts = [json.loads(line) for line in file]
    labels = {name: number for number, name in enumerate(sorted({row["label"] for row in texts}))}
    encoded = tokenizer([row["text"] for row in texts], truncation=True, max_length=o.seq_len)["input_ids"]
    rows: list[dict[str, Any]] = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels[row["label"]]}
        for ids, row in zip(encoded, texts, strict=True)
    ]
    torch.manual_seed(o.seed)
    names = {"label2id": labels, "id2label": {number: name for name, number in labels.items()}}
    model = AutoModelForSequenceClassification.from_pretrained(o.model, **names)
    collator = DataCollatorWithPadding(tokenizer)
    order = "random" if o.ungrouped else "group_by_length"
    hf_training.train(o, model, rows, collator, train_sampling_strategy=order)
    if o.save:
        model.save_pretrained(o.save)
        tokenizer.save_pretrained(o.save)


if __name__ == "__main__":
    main()
