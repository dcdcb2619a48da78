"""Contestant: transformers' Trainer on a new BertForMaskedLM with the shape and the tokenizer of a model folder.

Masks are drawn by its own collator. Under `steptime.py` it is timed; with --save it leaves its model.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, BertForMaskedLM, DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from bench import hf_training


def arguments() -> argparse.Namespace:
    parser = hf_training.parser(__doc__, "token ids, uint16")
    parser.add_argument("--like", type=Path, required=True, help="a folder with config.json and a tokenizer")
    return parser.parse_args()


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Consecutive windows of the ids between [CLS] and [SEP]."""

    def __init__(self, path: Path, seq_len: int, before: int, after: int) -> None:
        self.ids, self.n = np.memmap(path, dtype=np.uint16, mode="r"), seq_len - 2
        self.before, self.after = before, after

    def __len__(self) -> int:
        return len(self.ids) // self.n

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = [self.before, *self.ids[index * self.n : (index + 1) * self.n].tolist(), self.after]
        return {"input_ids": torch.tensor(ids)}


def main() -> None:
    o = arguments()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(o.like)
    torch.manual_seed(o.seed)
    model = BertForMaskedLM(AutoConfig.from_pretrained(o.like))
    assert isinstance(tokenizer.cls_token_id, int)
    assert isinstance(tokenizer.sep_token_id, int)
    windows = Windows(o.data, o.seq_len, tokenizer.cls_token_id, tokenizer.sep_token_id)
    hf_training.train(o, model, windows, DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15))
    if o.save:
        model.save_pretrained(o.save)
        for file in o.like.glob("*token*.json"):
            shutil.copy(file, o.save)


if __name__ == "__main__":
    main()
