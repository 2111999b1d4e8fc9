#!/usr/bin/env bash
# Average, decode and score trainings for WMT'16 English-German translation: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_evaluate wmt_ende "each is compared with the first" "$@"
