#!/usr/bin/env bash
# Fresh environments (Python x fairseq x torch) x a core subset of the tests: prints the README's table. --help explains.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/matrix.py" "$@"
