#!/usr/bin/env bash
# Average, decode and score trainings for Gigaword headlines: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_evaluate gigaword "one table of all" "$@"
