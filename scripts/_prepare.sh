# Sourced by prepare_*.sh after _environment.sh: runs `prepare CORPUS` with all options but those that are ours.
#
#   b2t_prepare CORPUS [options]      needs ROOT and usage()

b2t_prepare() {
  local corpus=$1
  shift
  own_options "$@"
  b2t_environment ""
  export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
  run "$ENV_PYTHON" -m b2t_fairseq.cli prepare "$corpus" ${PASSED[@]+"${PASSED[@]}"}
}
