#!/bin/sh
# Every check a change must pass: ruff, mypy, pytest. The last line printed is pytest's.
#
#   sh scripts/test.sh [PYTEST ARGUMENTS]...      for example: sh scripts/test.sh tests/data -k shards
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/scripts/setup.sh" dev
cd "$root"
python=$root/.venv/bin/python

"$python" -m ruff check
"$python" -m ruff format --check
"$python" -m mypy
# One thread for each of the two workers: small tensors gain nothing from more.
export OMP_NUM_THREADS=1
exec "$python" -m pytest -n 2 "$@"
