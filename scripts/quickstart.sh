#!/usr/bin/env bash
# From a fresh machine to a table of BLEU scores: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/quickstart.sh [options]

Trains Post-LN, Pre-LN and B2T Transformers of 18-18 layers side by side on a small English-German corpus that is part
of the package (synthetic), averages checkpoints, translates the test set with beam search and prints one table of
SacreBLEU scores. Makes its own environment, .venv in the checkout, unless an active one has the packages already.
About 12 minutes on 2 CPU cores after the installation. Ctrl-C stops; the next start goes on where it was.

  --data DIR           your own parallel text: train, val and test*.{SRC,TGT}, plain or .gz (default: embedded corpus)
  --source LANG        source language, the files' suffix (default: en)
  --target LANG        target language (default: de)
  --connections A,B    connections to compare (default: post,pre,b2t)
  --layers N-M         encoder and decoder layers (default: 18-18)
  --updates N          training updates (default: 1200)
  --vocab-size N       joint subwords (default: 1000 for the embedded corpus, else by the corpus' size)
  --config FILE        hyper-parameters (default: configs/laptop/quickstart.yaml)
  --output DIR         where results go (default: runs/quickstart)
  --jobs N             trainings at a time (default: all, at most two a core)
  --torch cpu|cuda     which torch to install if none imports (default: what pip's own settings give)
  --python PYTHON      the Python to make .venv with (default: 3.11 or 3.12 if there is one)
  --dry-run            print the commands, run none
  --help               this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"

PYTHON="" TORCH="" DRY_RUN=false
passed=()
while [ $# -gt 0 ]; do
  option=$1 value=""
  case "$option" in
    -h | --help)
      usage
      exit 0
      ;;
    --dry-run)
      DRY_RUN=true
      passed+=(--dry-run)
      shift
      continue
      ;;
    --*=*)
      value=${option#*=} option=${option%%=*}
      shift
      ;;
    --*)
      if [ $# -gt 1 ]; then value=$2; fi
      shift $(($# > 1 ? 2 : 1))
      ;;
    *) fail "unknown argument $option; --help lists the options" ;;
  esac
  case "$option" in
    --data | --source | --target | --connections | --layers | --updates | --vocab-size | --config | --output | --jobs)
      [ -n "$value" ] || fail "$option needs a value; --help lists the options"
      passed+=("$option=$value")
      ;;
    --torch)
      case "$value" in cpu | cuda) TORCH=$value ;; *) fail "--torch must be cpu or cuda, not '$value'" ;; esac
      ;;
    --python)
      [ -n "$value" ] || fail "--python needs a value; --help lists the options"
      PYTHON=$value
      ;;
    *) fail "unknown option $option; --help lists the options" ;;
  esac
done

b2t_environment ""
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
if [ "$DRY_RUN" = true ] && ! has_packages "$ENV_PYTHON" ""; then
  run "$ENV_PYTHON" -m b2t_fairseq.reproduce.quickstart "${passed[@]}"
  say "(after the installation --dry-run also lists the commands of this last one: preprocess, train, average, generate)"
  exit 0
fi
say "\$ $(printf '%q ' "$ENV_PYTHON" -m b2t_fairseq.reproduce.quickstart ${passed[@]+"${passed[@]}"})"
exec "$ENV_PYTHON" -m b2t_fairseq.reproduce.quickstart ${passed[@]+"${passed[@]}"}
