#!/usr/bin/env bash
# Does everything work on this machine's GPU, and how fast? A report in 15 minutes: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command device-check "$@"
