# Sourced by the other scripts: finds or makes the Python environment, and runs our commands in it. Sets ROOT, the checkout.
#
#   b2t_command COMMAND ARGUMENTS    our command, which knows --dry-run itself
#   b2t_step COMMAND ARGUMENTS       our command, which a dry run only prints
#
# For scripts that run something else:
#
#   own_options MODULE ARGUMENTS     sets PYTHON, TORCH, INSTALL and DRY_RUN from the scripts' own options and leaves all
#                                    other arguments in the array PASSED; what follows -- is never its own. For --help
#                                    it prints the script's first comment, its own options, and MODULE's help, and exits
#   b2t_environment EXTRA            sets ENV_PYTHON; EXTRA: "" or "test" (adds what scripts/test.sh runs)

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
TORCH_VERSION=2.13.0
VE_FAIRSEQ=ve-fairseq==0.12.3
FIXED_FAIRSEQ=fairseq-fixed==0.12.3.1
CPU_INDEX=https://download.pytorch.org/whl/cpu
INSTALL_LOG="$ROOT/.venv-install.log"
CONSTRAINTS=() # of pip: the tested versions, unless a torch of the user's decides

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 2
}

own_options() {
  local module=$1 help=false
  shift
  PYTHON="" TORCH="" DRY_RUN=false INSTALL=false PASSED=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --)
        PASSED+=("$@")
        break
        ;;
      -h | --help) help=true ;;
      --dry-run) DRY_RUN=true ;;
      --install) INSTALL=true ;;
      --python | --torch)
        [ -n "${2:-}" ] || fail "$1 needs a value; --help lists the options"
        case "$1" in --python) PYTHON=$2 ;; *) TORCH=$2 ;; esac
        shift
        ;;
      --python=*) PYTHON=${1#*=} ;;
      --torch=*) TORCH=${1#*=} ;;
      *) PASSED+=("$1") ;;
    esac
    shift
  done
  case "$TORCH" in "" | cpu | cuda) ;; *) fail "--torch must be cpu or cuda, not '$TORCH'" ;; esac
  if [ "$help" = true ]; then
    own_help "$module"
    exit 0
  fi
}

own_help() {
  local module=$1 python
  printf 'usage: bash scripts/%s [options]\n\n' "$(basename "$0")"
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  cat << 'TEXT'

options of the script:
  --python PYTHON   the Python to make .venv with (default: 3.11 or 3.12 if there is one)
  --torch cpu|cuda  which torch to install if none imports (default: cpu on Linux without an NVIDIA driver, else what
                    pip's own settings give)
  --install         make the environment and stop
  --dry-run         print the commands, run none
  --help            this text
TEXT
  if [ -z "$module" ]; then return; fi
  if python=$(existing_python); then
    printf '\nAll other options go to this command:\n\n'
    "$python" -m "$module" ${PASSED[@]+"${PASSED[@]}"} --help
  else
    printf '\nThe list of all other options needs the installation: bash scripts/%s --install\n' "$(basename "$0")"
  fi
}

# Prints the Python of an environment that needs no installation any more, by a look that takes no time; else fails.
existing_python() {
  local look="import importlib.util as util, sys; sys.exit(not all(map(util.find_spec, ['torch', 'fairseq'])))"
  local candidate
  for candidate in "${VIRTUAL_ENV:-${CONDA_PREFIX:-/nowhere}}/bin/python" "$ROOT/.venv/bin/python"; do
    if [ -x "$candidate" ] && "$candidate" -c "$look" > /dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

b2t_command() {
  own_options b2t_fairseq.cli "$@"
  b2t_environment ""
  if [ "$DRY_RUN" = true ]; then PASSED=("${PASSED[0]}" --dry-run "${PASSED[@]:1}"); fi
  if [ "$DRY_RUN" = true ] && ! has_packages "$ENV_PYTHON" ""; then
    run "$ENV_PYTHON" -m b2t_fairseq.cli "${PASSED[@]}"
    say "(after the installation --dry-run also prints the commands of this last one)"
    exit 0
  fi
  say "\$ $(printf '%q ' "$ENV_PYTHON" -m b2t_fairseq.cli "${PASSED[@]}")"
  exec "$ENV_PYTHON" -m b2t_fairseq.cli "${PASSED[@]}"
}

b2t_step() {
  own_options b2t_fairseq.cli "$@"
  b2t_environment ""
  run "$ENV_PYTHON" -m b2t_fairseq.cli "${PASSED[@]}"
}

# Prints a command and runs it, unless this is a dry run.
run() {
  say "\$ $(printf '%q ' "$@")"
  if [ "$DRY_RUN" = false ]; then "$@"; fi
}

# Runs a step of the installation, its output in the log: a line per step on the terminal. Fails as the step does.
attempt() {
  say "\$ $(printf '%q ' "$@")"
  if [ "$DRY_RUN" = true ]; then return; fi
  printf '\n$ %s\n' "$*" >> "$INSTALL_LOG"
  "$@" >> "$INSTALL_LOG" 2>&1 < /dev/null
}

# The same for a step that has to succeed; what earlier steps have done is kept when one fails.
install() {
  if ! attempt "$@"; then
    tail -n 12 "$INSTALL_LOG" >&2
    fail "the installation stopped at the command above (all it said: $INSTALL_LOG): fix what it says and run the same command again to resume"
  fi
}

# True if a Python imports everything that the work needs.
has_packages() {
  local modules="torch, fairseq_cli, sacrebleu, sentencepiece, matplotlib, tqdm, yaml, sacremoses, subword_nmt, rouge_score"
  modules="$modules, scipy, soundfile, kaldi_native_fbank, jiwer, omegaconf"
  if [ "$2" = test ]; then
    modules="$modules, pytest, hypothesis, xdist, ruff, basedpyright, editdistance, safetensors, ctranslate2"
    modules="$modules, ipykernel, material, mkdocs_jupyter, mkdocstrings_handlers.python, nbclient"
  fi
  "$1" -c "import $modules" > /dev/null 2>&1
}

# True if a Python really runs (a pyenv shim may exist and fail) and can make environments.
is_usable() {
  "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))" > /dev/null 2>&1
}

# The Python to build on: the user's choice, else 3.11 or 3.12, for which fairseq exists as a wheel, else python3.
base_python() {
  local candidate
  if [ -n "$PYTHON" ]; then
    command -v "$PYTHON" > /dev/null || fail "--python $PYTHON: no such program"
    is_usable "$PYTHON" || fail "--python $PYTHON must be Python 3.10 or newer with its venv module"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3.11 /usr/bin/python3.11 python3.12 /usr/bin/python3.12 python3 python; do
    if command -v "$candidate" > /dev/null && is_usable "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "no Python 3.10 or newer with its venv module was found: install Python 3.11 (Debian, Ubuntu: also python3.11-venv) or name one with --python"
}

# Takes away the records of packages whose installation was cut short, so that pip installs them again.
repair_packages() {
  "$1" - << 'PYTHON'
import importlib.metadata, pathlib, shutil

for package in importlib.metadata.distributions():
    files, record = package.files, getattr(package, "_path", None)
    if record is None or pathlib.Path(record).suffix != ".dist-info":
        continue
    whole = files and all(f.locate().exists() and f.size in (None, f.locate().stat().st_size) for f in files if f.suffix != ".pyc")
    if not whole:
        print(f"repairing {pathlib.Path(record).name}: its installation was interrupted")
        shutil.rmtree(record)
PYTHON
}

has_nvidia_driver() {
  nvidia-smi -L > /dev/null 2>&1
}

# Installs the CPU build, from torch's own index or what pip's settings name; what it depends on, by pip's settings.
install_cpu_torch() {
  local python=$1
  if [ "$(uname -s)" = Linux ]; then
    say "installing torch $TORCH_VERSION for CPUs: about 200 MB to download, 700 MB on disk"
    attempt "$python" -m pip install --no-deps --retries 1 "torch==$TORCH_VERSION+cpu" --index-url "$CPU_INDEX" || return 1
  fi # elsewhere PyPI has the CPU build
  install "$python" -m pip install "torch==$TORCH_VERSION"
}

install_torch() {
  local python=$1 installed=""
  CONSTRAINTS=(-c "$ROOT/constraints.txt")
  if [ -x "$python" ] && installed=$("$python" -c "import torch; print(torch.__version__)" 2> /dev/null); then
    say "torch $installed is installed and is used${TORCH:+ (--torch $TORCH is not needed; to change it, delete .venv)}"
    if [ "${installed%%+*}" != "$TORCH_VERSION" ]; then CONSTRAINTS=(); fi
    return
  fi
  if [ "$TORCH" = cpu ]; then
    install_cpu_torch "$python" || fail "there is no CPU build of torch $TORCH_VERSION at $CPU_INDEX for this machine, or it cannot be reached ($INSTALL_LOG)"
    return
  fi
  if [ "$TORCH" = "" ] && [ "$(uname -s)" = Linux ] && ! has_nvidia_driver; then
    say "no NVIDIA driver here: the CPU build of torch is enough (for the CUDA build: --torch cuda)"
    if install_cpu_torch "$python"; then return; fi
    say "the CPU build cannot be had from $CPU_INDEX; PyPI's will do"
  fi
  say "installing torch $TORCH_VERSION by pip's own settings: PyPI's build for Linux brings CUDA, several GB (--torch cpu: 200 MB)"
  install "$python" -m pip install "torch==$TORCH_VERSION"
}

install_fairseq() {
  local python=$1 version=$2
  if [ "$(uname -sm)" = "Linux x86_64" ] && { [ "$version" = 3.11 ] || [ "$version" = 3.12 ]; }; then
    install "$python" -m pip install ${CONSTRAINTS[@]+"${CONSTRAINTS[@]}"} "$VE_FAIRSEQ"
    return
  fi
  say "there is no fairseq wheel for Python $version on $(uname -sm): building fairseq-fixed, about 4 minutes, needs a C++ compiler"
  if [ "$DRY_RUN" = false ] && ! command -v c++ > /dev/null; then
    fail "no C++ compiler (c++) was found: install one, or use Python 3.11 or 3.12 on x86_64 Linux"
  fi
  install "$python" -m pip install ${CONSTRAINTS[@]+"${CONSTRAINTS[@]}"} cython numpy
  install env -u CUDA_HOME "$python" -m pip install ${CONSTRAINTS[@]+"${CONSTRAINTS[@]}"} --no-build-isolation "$FIXED_FAIRSEQ"  # its CUDA sources are not in the package
}

b2t_environment() {
  find_or_make_environment "$1"
  if [ "$INSTALL" = true ]; then exit 0; fi
}

find_or_make_environment() {
  local extra=$1 venv="$ROOT/.venv" began=$SECONDS base version marker wanted
  if [ -z "$PYTHON" ] && [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && has_packages python "$extra"; then
    ENV_PYTHON=$(command -v python)
    say "using the active environment ${VIRTUAL_ENV:-$CONDA_PREFIX}, which has the packages"
    return
  fi
  ENV_PYTHON="$venv/bin/python"
  marker="$venv/.b2t-complete${extra:+-$extra}"
  wanted="$TORCH_VERSION $VE_FAIRSEQ $FIXED_FAIRSEQ $(cat "$ROOT/setup.py" "$ROOT/constraints.txt" | cksum)"
  if [ -z "$PYTHON" ] && [ "$(cat "$marker" 2> /dev/null)" = "$wanted" ] && has_packages "$ENV_PYTHON" "$extra"; then
    say "using $venv"
    return
  fi

  base=$(base_python)
  version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  say "making the environment $venv with $base ($version); pip's output: $INSTALL_LOG"
  if [ "$DRY_RUN" = false ]; then : > "$INSTALL_LOG"; fi
  if [ -x "$ENV_PYTHON" ] && "$ENV_PYTHON" -m pip --version > /dev/null 2>&1 &&
    "$ENV_PYTHON" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"; then
    if [ "$DRY_RUN" = false ]; then repair_packages "$ENV_PYTHON"; fi
  elif "$base" -c "import torch" > /dev/null 2>&1; then # a torch that this Python has is kept
    install "$base" -m venv --clear --system-site-packages "$venv"
  else
    install "$base" -m venv --clear "$venv"
  fi
  install_torch "$ENV_PYTHON"
  install "$ENV_PYTHON" -m pip install "setuptools>=64" wheel
  install_fairseq "$ENV_PYTHON" "$version"
  install "$ENV_PYTHON" -m pip install ${CONSTRAINTS[@]+"${CONSTRAINTS[@]}"} --no-build-isolation -e "$ROOT[${extra:-speech,summarization,plots}]"
  if [ "$DRY_RUN" = true ]; then return; fi
  has_packages "$ENV_PYTHON" "$extra" || fail "the installation in $venv is not complete: delete that folder and start again"
  printf '%s' "$wanted" > "$marker"
  say "installation: $((SECONDS - began)) s"
}
