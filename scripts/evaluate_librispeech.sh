#!/usr/bin/env bash
# Average, decode and score trainings for LibriSpeech speech recognition: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_evaluate librispeech "one table of all" "$@"
