#!/usr/bin/env bash
# Gigaword's 3.8 M headline pairs, binarised for the paper's training: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/prepare_gigaword.sh [options]

Fetches the archive, checks it, learns joint BPE and binarises all of it into DIR/data-bin. Whatever interrupts it, the
same command goes on from there; steps that are done are kept. DIR/manifest.json says what came from where.

  --merges N           joint BPE merges (default: 32000)
  --extra PREFIX       more training pairs, PREFIX.article and PREFIX.title; may be repeated. The paper's deep models
                       train on 13 M more, of RealNews and NewsCrawl; from their files:
                       python -m b2t_fairseq.cli prepare news-headlines FILE… --output PREFIX
  --output DIR         where the corpus goes (default: data/gigaword)
  --from DIR           I have the files: nothing is fetched: ggw_data.zip, summary.tar.gz, or their files
  --workers N          processes (default: all cores)
  --need-free-gb GB    free disk to ask for before the work begins (default: 8)
  --python PYTHON      the Python to make .venv with
  --torch cpu|cuda     which torch to install if none imports
  --dry-run            print the commands, run none
  --help               this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_prepare.sh"
b2t_prepare gigaword "$@"
