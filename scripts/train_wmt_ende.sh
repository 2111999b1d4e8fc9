#!/usr/bin/env bash
# The paper's training for WMT'16 English-German translation: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_train wmt_ende "6-6 12-12 18-18 36-36 50-50 60-12 100-100" 18-18 "$@"
