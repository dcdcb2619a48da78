"""Raw text -> a prepared set, in stages: documents, duplicates, tokenizer, tokens, set.

The input is divided into parts of a few megabytes, by the files and their sizes alone. Each stage leaves one result for
each part under a work folder beside the output, so that whoever works on a part, and however often the command is
killed and begun again, the set has the same bytes.
"""

from bigtrain.data.pipeline.api import cache_folder, kept_nowhere, prepare, prepared
from bigtrain.data.pipeline.estimate import estimate
from bigtrain.data.pipeline.steps import Steps

__all__ = ["Steps", "cache_folder", "estimate", "kept_nowhere", "prepare", "prepared"]
