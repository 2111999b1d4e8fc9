#!/usr/bin/env bash
# Average, decode and score trainings for WikiText-103 language modelling: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_evaluate wikitext103 "one table of all" "$@"
