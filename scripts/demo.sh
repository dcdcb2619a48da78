#!/bin/sh
# Train a language model on the source of Python's standard library, measure it against file compressors, let it write.
#
#   sh scripts/demo.sh [KEY=VALUE]...      for example: sh scripts/demo.sh train.max_minutes=1 run.dir=runs/short
#
# After installation: under 5 minutes on 2 cores. The same command again continues a run that was cut short.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
cd "$root"

run=runs/demo
for argument; do
    case $argument in run.dir=*) run=${argument#run.dir=} ;; esac
done
bigtrain() { "$root/.venv/bin/python" -m bigtrain "$@"; }
heading() { printf '\n== %s\n' "$*"; }

heading "bigtrain pretrain recipe=demo run.dir=$run"
bigtrain pretrain recipe=demo "run.dir=$run" "$@"

heading "bigtrain evaluate checkpoint=$run data=stdlib"
metrics=$(bigtrain evaluate "checkpoint=$run" data=stdlib --json)
printf '%s\n' "$metrics" | "$root/.venv/bin/python" scripts/yardstick.py

heading "bigtrain generate checkpoint=$run -p 'class Queue:' temperature=0.6"
bigtrain generate "checkpoint=$run" -p "class Queue:" temperature=0.6

printf '\nreport: %s\n' "$(cd "$run" && pwd)/report.html"
