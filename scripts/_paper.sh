# Sourced by train_*.sh and evaluate_*.sh, after _environment.sh; needs ROOT and usage.
#
#   paper_command COMMAND TASK ARGUMENTS...     our command in the scripts' environment; --help and --python are ours

paper_command() {
  local command=$1 task=$2
  shift 2
  local passed=("$command" "$task")
  PYTHON="" TORCH="" DRY_RUN=false
  while [ $# -gt 0 ]; do
    case "$1" in
      -h | --help)
        usage
        exit 0
        ;;
      --)
        passed+=("$@")
        break
        ;;
      --python)
        [ -n "${2:-}" ] || fail "--python needs a value; --help lists the options"
        PYTHON=$2
        shift 2
        continue
        ;;
      --python=*) PYTHON=${1#*=} ;;
      --dry-run)
        DRY_RUN=true
        passed+=("$1")
        ;;
      *) passed+=("$1") ;;
    esac
    shift
  done
  b2t_environment ""
  export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
  if [ "$DRY_RUN" = true ] && ! has_packages "$ENV_PYTHON" ""; then
    say "(the command itself is printed when the installation above is done)"
    exit 0
  fi
  exec "$ENV_PYTHON" -m b2t_fairseq.cli "${passed[@]}"
}
