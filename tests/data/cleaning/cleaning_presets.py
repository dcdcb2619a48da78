"""The presets of `clean=` as the command line builds them."""

from pathlib import Path

from bigtrain import config
from bigtrain.data.cleaning.schema import CleanConfig

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "clean"
NAMES = ("none", "light", "web", "books", "code")


def preset(name: str, **sections: object) -> CleanConfig:
    """The checked config of a preset, some of its sections replaced."""
    clean: CleanConfig = config.load("prepare", ["data=stdlib", "output=out", f"clean={name}"]).config.clean
    for section, value in sections.items():
        setattr(clean, section, value)
    clean.check()
    return clean
