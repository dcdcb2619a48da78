#!/bin/sh
# The long sweeps (tests marked `slow`): random kills, random damage, whole grids. Nightly, not in CI.
#
#   sh scripts/sweep.sh [PYTEST ARGUMENTS]...
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/scripts/setup.sh" dev
cd "$root"
export OMP_NUM_THREADS=1
exec "$root/.venv/bin/python" -m pytest -m slow "$@"
