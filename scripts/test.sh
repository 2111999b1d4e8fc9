#!/usr/bin/env bash
# Linter, formatter, type checker and tests, in the environment of quickstart.sh with the test extras.
#
# All other arguments go to pytest: bash scripts/test.sh -k bleu tests/evaluation. With B2T_DATA=FOLDER tests on real
# corpora run, too.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
own_options "" "$@"
cd "$ROOT"
b2t_environment test
export OMP_NUM_THREADS=1
run "$ENV_PYTHON" -m ruff check .
run "$ENV_PYTHON" -m ruff format --check .
run "$ENV_PYTHON" -m basedpyright
run "$ENV_PYTHON" -m pytest -n 2 --dist worksteal ${PASSED[@]+"${PASSED[@]}"}
