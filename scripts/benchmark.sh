#!/usr/bin/env bash
# Ours against stock fairseq, in the scripts' own environment: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/benchmark.sh [--python PYTHON] [--torch cpu|cuda] [--dry-run] [arguments of python -m benchmarks]

Measures training and decoding of ours and of stock fairseq in turns, with the environment of quickstart.sh. All
arguments that are not listed here go to python -m benchmarks:

  CASE …            what to measure (default: a short set): names, beginnings of names (train, decode-18-18), patterns
  --list            print the cases
  --all             every case; takes hours
  --repeats N       pairs of measurements (default: 7)
  --warmup N        measurements of each side that do not count (default: 3)
  --threads N       default: all cores
  --device DEVICE   cpu (default) or cuda
  --json FILE       also write everything measured
  --markdown FILE   also write the table
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"

own_options "$@"

b2t_environment ""
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
run "$ENV_PYTHON" -m benchmarks ${PASSED[@]+"${PASSED[@]}"}
