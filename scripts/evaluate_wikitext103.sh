#!/usr/bin/env bash
# Average, decode and score trainings for WikiText-103 language models: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command paper-evaluate wikitext103 "$@"
