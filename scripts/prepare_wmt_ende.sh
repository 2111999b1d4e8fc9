#!/usr/bin/env bash
# WMT'16 English-German, binarised for the paper's training: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/prepare_wmt_ende.sh [options]

Fetches the authors' ready-made archive (wmt16_en_de.tar.gz: tokenised, cleaned, 32,000 joint merges) and the test sets
newstest2010-2016 through sacrebleu, checks them, and binarises all of it into DIR/data-bin. Whatever interrupts it, the
same command goes on from there; steps that are done are kept. DIR/manifest.json says what came from where.

  --from-raw           build from raw text instead: Europarl v7, Common Crawl, News Commentary v11; Moses tokens,
                       pairs of 1-80 words, joint BPE learned here
  --merges N           joint merges with --from-raw (default: 32000)
  --years A,B          test sets (default: 2010,2011,2012,2013,2014,2015,2016; none: no test set)
  --output DIR         where the corpus goes (default: data/wmt_ende)
  --from DIR           I have the files: nothing is fetched: the archives, or what is in them
                       (test sets: newstestYEAR.en and .de, or what sacrebleu has in $SACREBLEU)
  --workers N          processes (default: all cores)
  --need-free-gb GB    free disk to ask for before the work begins (default: 12, with --from-raw 16)
  --python PYTHON      the Python to make .venv with
  --torch cpu|cuda     which torch to install if none imports
  --dry-run            print the commands, run none
  --help               this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_prepare.sh"
b2t_prepare wmt-ende "$@"
