#!/usr/bin/env bash
# Linter, formatter and tests in the scripts' own environment: see --help.
set -euo pipefail

usage() {
  cat << 'TEXT'
usage: bash scripts/test.sh [--python PYTHON] [--torch cpu|cuda] [--dry-run] [pytest arguments]

Runs ruff and pytest with the environment of quickstart.sh and the test extras. All arguments that are not listed here
go to pytest: bash scripts/test.sh -k bleu tests/evaluation. With B2T_DATA=FOLDER tests on real corpora run, too.
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"

own_options "$@"

cd "$ROOT"
b2t_environment test
export OMP_NUM_THREADS=1
run "$ENV_PYTHON" -m ruff check .
run "$ENV_PYTHON" -m ruff format --check .
run "$ENV_PYTHON" -m pytest -n 2 --dist worksteal ${PASSED[@]+"${PASSED[@]}"}
