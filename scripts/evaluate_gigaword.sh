#!/usr/bin/env bash
# Average, decode and score trainings for Gigaword headlines: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command paper-evaluate gigaword "$@"
