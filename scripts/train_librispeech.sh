#!/usr/bin/env bash
# The paper's training for LibriSpeech speech recognition: see --help.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/scripts/_environment.sh"
. "$ROOT/scripts/_paper.sh"
paper_train librispeech "6-6 12-6" 12-6 "$@"
