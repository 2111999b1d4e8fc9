#!/usr/bin/env bash
# Builds the documentation as a site, strictly: a broken link or a page that the navigation lacks ends it.
#
#   bash scripts/docs.sh            into outputs/site; open outputs/site/index.html
#   bash scripts/docs.sh --serve    at http://127.0.0.1:8000, built anew whenever a page is saved
#
# mkdocs is taken from the active environment or from .venv; where neither has it, .venv.docs is made (no torch needed).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  "") action=(build --strict) ;;
  --serve) action=(serve --strict) ;;
  -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *)
    echo "error: $1: unknown option; --help lists them" >&2
    exit 2
    ;;
esac

has_mkdocs() { "$1" -c "import material, mkdocs, mkdocs_jupyter, mkdocstrings_handlers.python" > /dev/null 2>&1; }

python=""
for candidate in "${VIRTUAL_ENV:-/nowhere}/bin/python" .venv/bin/python .venv.docs/bin/python; do
  if has_mkdocs "$candidate"; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  python=.venv.docs/bin/python
  echo "making .venv.docs with the packages of docs/requirements.txt: 270 MB on disk" >&2
  python3 -m venv .venv.docs
  "$python" -m pip install --quiet -c constraints.txt -r docs/requirements.txt
fi
echo "\$ $python -m mkdocs ${action[*]}" >&2
exec "$python" -m mkdocs "${action[@]}"
