"""bigtrain: from raw text to a model one can ship, with one command-line tool driven by config files."""

__version__ = "0.1.0"
