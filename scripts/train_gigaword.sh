#!/usr/bin/env bash
# The paper's training for Gigaword headlines: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_train gigaword "6-6 18-18" 18-18 "$@"
