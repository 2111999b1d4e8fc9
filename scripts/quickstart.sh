#!/usr/bin/env bash
# From a fresh machine to a table of scores: --help lists the options.
#
# Makes its own environment, .venv in the checkout, unless an active one has the packages already. About 12 minutes or
# less on 2 CPU cores after the installation. Ctrl-C stops; run the same command again to resume.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command quickstart "$@"
