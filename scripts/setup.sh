#!/bin/sh
# Make or reuse .venv in this checkout and install bigtrain into it, editable.
#
#   sh scripts/setup.sh [EXTRAS]       for example: sh scripts/setup.sh dev
#
# PYTHON=/path/to/python chooses the interpreter of a new .venv. Nothing is done when pyproject.toml, the interpreter
# and the folder are those of the last installation; an installation that was cut short is begun anew.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
extras=${1:-}
venv=$root/.venv
python=$venv/bin/python
unfinished=$venv/bigtrain-unfinished

say() { printf '%s\n' "$*" >&2; }

# Exit code 0 when $1 is a Python that bigtrain supports.
supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Print the interpreter a new .venv is made from. 3.11 comes first: it is what CI runs.
find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do
        if [ -n "$candidate" ] && supported "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
        if [ -n "${PYTHON:-}" ]; then break; fi
    done
    say "error: no Python 3.11, 3.12 or 3.13 found"
    say "  given:  ${PYTHON:-python3}: $("${PYTHON:-python3}" --version 2>&1 || true)"
    say "  rule:   bigtrain runs on Python 3.11 to 3.13"
    say "  remedy: install one of them, or name it: PYTHON=/path/to/python3.11 sh $0"
    exit 2
}

# What the installation depends on; the folder, since an editable installation points into it.
fingerprint() {
    cat "$root/pyproject.toml"
    printf '%s\n' "$root"
    "$python" -c 'import sys; print(sys.base_prefix, sys.version)'
}

if [ -e "$unfinished" ] || ! supported "$python" || ! "$python" -m pip --version >/dev/null 2>&1; then
    base=$(find_python)
    say "making $venv with $("$base" --version)"
    if ! "$base" -m venv --clear "$venv"; then
        say "error: no virtual environment could be made"
        say "  given:  $base -m venv $venv"
        say "  rule:   Python's venv and ensurepip modules are needed"
        say "  remedy: install them (the package python3-venv on Debian and Ubuntu), or name another PYTHON="
        exit 2
    fi
fi

current=$(fingerprint | cksum)
for stamp in "$venv/bigtrain-installed-$extras" "$venv/bigtrain-installed-dev"; do # dev holds everything
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$current" ]; then exit 0; fi
done

target=$root
if [ -n "$extras" ]; then target="$root[$extras]"; fi
say "installing bigtrain into $venv (a few minutes the first time)"
rm -f "$venv"/bigtrain-installed-*
: >"$unfinished"
quiet=-qq
if [ -t 2 ]; then quiet=; fi # who watches sees pip's progress; a log keeps only errors
"$python" -m pip install ${quiet:+"$quiet"} --editable "$target" >&2
printf '%s\n' "$current" >"$venv/bigtrain-installed-$extras"
rm -f "$unfinished"
