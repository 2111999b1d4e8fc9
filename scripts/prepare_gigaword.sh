#!/usr/bin/env bash
# The corpus for Gigaword headlines, fetched, checked and binarised: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_step prepare gigaword "$@"
