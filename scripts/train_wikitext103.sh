#!/usr/bin/env bash
# The paper's training for WikiText-103 language models, on any number of GPUs: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_command paper-train wikitext103 "$@"
