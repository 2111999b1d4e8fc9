#!/usr/bin/env bash
# Average, decode and score trainings for LibriSpeech speech recognition: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/evaluate_librispeech.sh --run DIR [--run DIR ...] [options] [-- further options of the decoding command]

Averages the last checkpoints of each run, decodes the paper's test sets with the values of configs/paper/librispeech.yaml,
scores them, and writes the row of the paper's table, in Markdown and JSON, into the run's folder. What is done is kept.

  --run DIR              a training's folder; with several, one table of all
  --data DIR             default: data/librispeech
  --tests A,B            default: all of the table
  --config FILE          default: configs/paper/librispeech.yaml
  --python PYTHON        the Python to make .venv with
  --dry-run              print the commands, run none
  --help                 this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_command paper-evaluate librispeech "$@"
