"""Configs: YAML files and KEY=VALUE overrides, composed by Hydra, become the typed dataclasses of `bigtrain.schema`.

    folders.py    where config files lie, and which options a group has
    overrides.py  one KEY=VALUE of the command line; the type of the key decides what the value means
    compose.py    the one place that asks Hydra to compose
    fields.py     the dataclasses as a tree of dotted keys
    values.py     a plain nested dict, checked against that tree and turned into the dataclasses
    suggest.py    unknown keys: which one was meant
    loading.py    the order of it all: `load`, `from_plain`, `continued`
    sweep.py      `--multirun`
    space.py      what a search looks through, and what it tries next

Nothing here imports torch; Hydra and OmegaConf are imported inside the functions that need them.
"""

from bigtrain.config.loading import Loaded, continued, flat, from_plain, load, read_yaml, to_yaml

__all__ = ["Loaded", "continued", "flat", "from_plain", "load", "read_yaml", "to_yaml"]
