#!/usr/bin/env bash
# Ours against stock fairseq, measured in turns, in the environment of quickstart.sh: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
own_options benchmarks "$@"
b2t_environment ""
run "$ENV_PYTHON" -m benchmarks ${PASSED[@]+"${PASSED[@]}"}
