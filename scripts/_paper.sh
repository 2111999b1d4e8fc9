# Sourced by train_*.sh and evaluate_*.sh, after _environment.sh; needs ROOT.
#
#   paper_train CORPUS DEPTHS DEFAULT ARGUMENTS...    trainings of a corpus, DEPTHS those of the paper's table
#   paper_evaluate CORPUS SEVERAL ARGUMENTS...        average, decode and score; SEVERAL says what more than one --run means

paper_train() {
  CORPUS=$1 DEPTHS=$2 DEFAULT=$3
  shift 3
  usage() { train_usage; }
  paper_command paper-train "$@"
}

paper_evaluate() {
  CORPUS=$1 SEVERAL=$2
  shift 2
  usage() { evaluate_usage; }
  paper_command paper-evaluate "$@"
}

# Runs our command in the scripts' environment.
paper_command() {
  local command=("$1" "$CORPUS")
  shift
  own_options "$@"
  if [ "$DRY_RUN" = true ]; then command+=(--dry-run); fi
  b2t_environment ""
  export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
  if [ "$DRY_RUN" = true ] && ! has_packages "$ENV_PYTHON" ""; then
    say "(the command itself is printed when the installation above is done)"
    exit 0
  fi
  exec "$ENV_PYTHON" -m b2t_fairseq.cli "${command[@]}" ${PASSED[@]+"${PASSED[@]}"}
}

train_usage() {
  cat << TEXT
usage: bash scripts/train_$CORPUS.sh [options] [-- further options of fairseq-train]

Trains on what scripts/prepare_$CORPUS.sh made, with the values of configs/paper/$CORPUS.yaml and the paper's effective batch
on any number of GPUs. The same command again goes on from the last checkpoint; SIGTERM or Ctrl-C writes one first.

  --connection NAME      method (default: b2t); python -m b2t_fairseq.connections lists them
  --layers DEPTH         $DEPTHS (default: $DEFAULT)
  --recipe RECIPE        paper, released (the values of the authors' released code), own (dlcl_*, pre: a schedule of its own)
  --gpus N               GPUs of each machine (default: all found)
  --nodes N              machines; start the command on each, with MASTER_ADDR set (SLURM: scripts/slurm/train.sbatch)
  --precision P          fp16 (default), bf16, fp32
  --seed N               default: 1
  --data DIR             default: data/$CORPUS
  --output DIR           default: runs/paper/$CORPUS/CONNECTION-LAYERS-RECIPE-SEED
  --stop-after UPDATES   end a run that is still at the unigram level then (default: the recipe's; 0: never)
  --config FILE          default: configs/paper/$CORPUS.yaml
  --python PYTHON        the Python to make .venv with
  --torch cpu|cuda       which torch to install if none imports (default: what pip's own settings give)
  --dry-run              print fairseq's exact command, run nothing
  --help                 this text
TEXT
}

evaluate_usage() {
  cat << TEXT
usage: bash scripts/evaluate_$CORPUS.sh --run DIR [--run DIR ...] [options] [-- further options of the decoding command]

Averages the last checkpoints of each run, decodes the paper's test sets with the values of configs/paper/$CORPUS.yaml,
scores them, and writes the row of the paper's table, in Markdown and JSON, into the run's folder. What is done is kept.

  --run DIR              a training's folder; with several, $SEVERAL
  --data DIR             default: data/$CORPUS
  --tests A,B            default: all of the table
  --config FILE          default: configs/paper/$CORPUS.yaml
  --python PYTHON        the Python to make .venv with
  --torch cpu|cuda       which torch to install if none imports (default: what pip's own settings give)
  --dry-run              print the commands, run none
  --help                 this text
TEXT
}
