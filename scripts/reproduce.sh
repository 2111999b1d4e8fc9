#!/usr/bin/env bash
# The paper's tables, figures and findings from one command: --help lists targets and options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command reproduce "$@"
