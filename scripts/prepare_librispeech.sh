#!/usr/bin/env bash
# LibriSpeech's 1000 hours as features for the paper's training: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/prepare_librispeech.sh [options]

Fetches the seven archives (61 GB), checks them, unpacks them into DIR/audio and makes DIR/data: filter banks,
manifests, 10,000 SentencePiece pieces, config.yaml. Whatever interrupts it, the same command goes on from there; steps
that are done are kept. DIR/manifest.json says what came from where.

  --splits A,B         some of the seven (default: train-clean-100,train-clean-360,train-other-500,dev-clean,dev-other,
                       test-clean,test-other)
  --vocab-size N       SentencePiece pieces (default: 10000)
  --specaugment NAME   policy in training: lb, ld, short or none (default: ld)
  --output DIR         where the corpus goes (default: data/librispeech)
  --from DIR           I have the files: nothing is fetched: the archives, or the folder of
                       unpacked splits
  --workers N          processes (default: all cores)
  --need-free-gb GB    free disk to ask for before the work begins (default: 250, by the splits)
  --python PYTHON      the Python to make .venv with
  --torch cpu|cuda     which torch to install if none imports
  --dry-run            print the commands, run none
  --help               this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_prepare.sh"
b2t_prepare librispeech "$@"
