"""Contestant: transformers' Trainer on answers to questions, with the features of its run_qa example.

Rows of like length are put together (its group_by_length). Under `steptime.py` it is timed; with --save it leaves its
model.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding

from bench import hf_training


def arguments() -> argparse.Namespace:
    parser = hf_training.parser(__doc__, "SQuAD's JSON")
    parser.add_argument("--model", type=Path, required=True, help="the encoder to start from")
    parser.add_argument("--overlap", type=int, default=96)
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
    rows, collator = features(o, tokenizer), DataCollatorWithPadding(tokenizer)
    hf_training.train(o, model, rows, collator, train_sampling_strategy="group_by_length")
    if o.save:
        model.save_pretrained(o.save)
        tokenizer.save_pretrained(o.save)


if __name__ == "__main__":
    main()
