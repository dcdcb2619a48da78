"""Tokenizers: trained here or brought along, and what can be said about them.

base.py          Tokenizer: text <-> ids, files written
files.py         files of every kind, told apart by content; sentencepiece_model.py reads one of them
choice.py        config -> a tokenizer, or the config of one to be trained
training.py      config and texts -> a tokenizer: word_counts.py, bpe.py, unigram.py with lattice.py
fast_encode.py   faster ways to the same ids: splitting.py, word_table.py, word_encoder.py
words.py         where words begin, for masking them whole
chat.py          templates of conversations
figures.py       fertility, bytes per token and more; candidates compared
"""

from bigtrain.tokenizer.base import EOS, UNKNOWN, Ids, Tokenizer
from bigtrain.tokenizer.choice import choose, settings
from bigtrain.tokenizer.figures import compare, figures
from bigtrain.tokenizer.training import train

__all__ = ["EOS", "UNKNOWN", "Ids", "Tokenizer", "choose", "compare", "figures", "settings", "train"]
