#!/usr/bin/env bash
# The reliability tests many times over, with random draws: bash scripts/attack.sh [TIMES] [pytest arguments]
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
times=10
case "${1:-}" in
  -h | --help)
    echo "usage: bash scripts/attack.sh [TIMES] [pytest arguments]"
    echo "Runs all tests of tests/reliability TIMES times (default: 10) with 50 examples per property and 20 s per parser,"
    echo "and stops at the first failure; the environment is that of scripts/test.sh."
    exit 0
    ;;
  *[!0-9]* | "") ;;
  *)
    times=$1
    shift
    ;;
esac

export B2T_EXAMPLES=50 B2T_FUZZ_SECONDS=20
for ((round = 1; round <= times; round++)); do
  echo "round $round of $times" >&2
  bash "$ROOT/scripts/test.sh" tests/reliability "$@"
done
