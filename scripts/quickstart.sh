#!/usr/bin/env bash
# From a fresh machine to a table of scores: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/quickstart.sh [options]

Trains Post-LN, Pre-LN and B2T Transformers side by side on a small corpus that is part of the package or comes with what
it needs, averages checkpoints, evaluates them and prints one table of scores. Makes its own environment, .venv in the
checkout, unless an active one has the packages already. About 12 minutes or less on 2 CPU cores after the installation.
Ctrl-C stops; the next start goes on where it was.

  --task TASK          what to learn (default: mt)
                         mt             translation, 18-18 layers, a synthetic English-German corpus; SacreBLEU
                         summarization  headlines, 6-6 layers, docstrings of Python and of installed packages; ROUGE
                         lm             language model, 16 layers, Python's own documentation; perplexity
                         asr            speech recognition, 6-6 layers, synthetic dialling tones; word error rate
  --data PATH          your own corpus instead (see below)
  --connections A,B    connections to compare (default: post,pre,b2t)
  --layers N-M         layers of encoder and decoder (lm: one number)
  --updates N          training updates (default: the recipe's)
  --vocab-size N       subwords; not for lm (default: the recipe's, with --data by the corpus' size)
  --config FILE        hyper-parameters (default: the task's in configs/laptop)
  --output DIR         where results go (default: runs/quickstart, other tasks: runs/TASK)
  --jobs N             trainings at a time (default: all, at most two a core)
  --source LANG        mt: source language, the files' suffix (default: en)
  --target LANG        mt: target language (default: de)
  --tokenise HOW       lm: auto (default), none, wikitext: what to do with the text of --data
  --held-out SPEAKER   asr, spoken digits: who is only in the test set
  --torch cpu|cuda     which torch to install if none imports (default: what pip's own settings give)
  --python PYTHON      the Python to make .venv with (default: 3.11 or 3.12 if there is one)
  --dry-run            print the commands, run none
  --help               this text

What --data reads, each file plain or .gz:
  mt             a folder with train, val and test*.{SRC,TGT}
  summarization  a folder with train.article.txt, train.title.txt, valid.*, and input.txt, task1_ref0.txt (Gigaword), or
                 a file of lines "text TAB headline", which is split by line number
  lm             a folder with wiki.{train,valid,test}.{tokens,raw} (WikiText) or {train,valid,test}.txt
  asr            a folder in LibriSpeech's layout, or spoken digits DIGIT_SPEAKER_INDEX.wav
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
    --task | --data | --connections | --layers | --updates | --vocab-size | --config | --output | --jobs | \
      --source | --target | --tokenise | --held-out)
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
  run "$ENV_PYTHON" -m b2t_fairseq.experiments.quickstart "${passed[@]}"
  say "(after the installation --dry-run also lists the commands of this last one: preprocess, train, average, evaluate)"
  exit 0
fi
say "\$ $(printf '%q ' "$ENV_PYTHON" -m b2t_fairseq.experiments.quickstart ${passed[@]+"${passed[@]}"})"
exec "$ENV_PYTHON" -m b2t_fairseq.experiments.quickstart ${passed[@]+"${passed[@]}"}
