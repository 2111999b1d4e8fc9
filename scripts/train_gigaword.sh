#!/usr/bin/env bash
# The paper's training for Gigaword headlines: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/train_gigaword.sh [options] [-- further options of fairseq-train]

Trains on what scripts/prepare_gigaword.sh made, with the values of configs/paper/gigaword.yaml and the paper's effective batch
on any number of GPUs. The same command again goes on from the last checkpoint; SIGTERM or Ctrl-C writes one first.

  --connection NAME      method (default: b2t); python -m b2t_fairseq.connections lists them
  --layers DEPTH         6-6 18-18 (default: 18-18)
  --recipe RECIPE        paper, released (the values of the authors' released code), own (dlcl_*, pre: a schedule of its own)
  --gpus N               GPUs of each machine (default: all found)
  --nodes N              machines; start the command on each, with MASTER_ADDR set (SLURM: scripts/slurm/train.sbatch)
  --precision P          fp16 (default), bf16, fp32
  --seed N               default: 1
  --data DIR             default: data/gigaword
  --output DIR           default: runs/paper/gigaword/CONNECTION-LAYERS-RECIPE-SEED
  --stop-after UPDATES   end a run that is still at the unigram level then (default: the recipe's; 0: never)
  --config FILE          default: configs/paper/gigaword.yaml
  --python PYTHON        the Python to make .venv with
  --dry-run              print fairseq's exact command, run nothing
  --help                 this text
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_command paper-train gigaword "$@"
