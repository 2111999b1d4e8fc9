#!/usr/bin/env bash
# The corpus for WikiText-103 language models, fetched, checked and binarised: --help lists the options.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
b2t_step prepare wikitext103 "$@"
