#!/usr/bin/env bash
# The paper's training for WMT'16 English-German translation, on any number of GPUs: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command paper-train wmt_ende "$@"
