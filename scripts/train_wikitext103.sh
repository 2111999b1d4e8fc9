#!/usr/bin/env bash
# The paper's training for WikiText-103 language modelling: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_train wikitext103 "6 16" 16 "$@"
