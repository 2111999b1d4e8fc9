# Sourced by prepare_*.sh after _environment.sh: runs `prepare CORPUS` with all options but those that are ours.
#
#   b2t_prepare CORPUS [options]      needs ROOT and usage()

b2t_prepare() {
  local corpus=$1 passed=()
  shift
  PYTHON="" TORCH="" DRY_RUN=false
  while [ $# -gt 0 ]; do
    case "$1" in
      -h | --help)
        usage
        exit 0
        ;;
      --dry-run) DRY_RUN=true ;;
      --python | --torch)
        [ -n "${2:-}" ] || fail "$1 needs a value; --help lists the options"
        case "$1" in --python) PYTHON=$2 ;; *) TORCH=$2 ;; esac
        shift
        ;;
      --python=*) PYTHON=${1#*=} ;;
      --torch=*) TORCH=${1#*=} ;;
      *) passed+=("$1") ;;
    esac
    shift
  done
  case "$TORCH" in "" | cpu | cuda) ;; *) fail "--torch must be cpu or cuda, not '$TORCH'" ;; esac
  b2t_environment ""
  export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
  run "$ENV_PYTHON" -m b2t_fairseq.cli prepare "$corpus" ${passed[@]+"${passed[@]}"}
}
