#!/usr/bin/env bash
# WikiText-103, binarised for the paper's training: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/prepare_wikitext103.sh [options]

Fetches the archive, checks it, counts tokens and words, and binarises all of it into DIR/data-bin. Whatever interrupts
it, the same command goes on from there; steps that are done are kept. DIR/manifest.json says what came from where.

  --output DIR         where the corpus goes (default: data/wikitext103)
  --from DIR           I have the files: nothing is fetched: wikitext-103-v1.zip or
                       wiki.{train,valid,test}.tokens
  --workers N          processes (default: all cores)
  --need-free-gb GB    free disk to ask for before the work begins (default: 3)
  --python PYTHON      the Python to make .venv with
  --torch cpu|cuda     which torch to install if none imports
  --dry-run            print the commands, run none
  --help               this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_prepare.sh"
b2t_prepare wikitext103 "$@"
