# shellcheck shell=bash disable=SC2154,SC2034
# What profile_nsys.sh and profile_ncu.sh share; sourced from the repository root.

phases="embed qkv rope bank attention output mlp head sample"

stop() { echo "${0##*/}: $1" >&2; exit 1; }

usage() {
  cat <<TEXT
usage: scripts/${0##*/} METHOD PHASE [option value]...
  METHOD      e.g. 'landmark(window=256,exact=64,summary=64)'; kvgauge ls methods lists them
  PHASE       ${phases// /, }, or all
  --stage     prefill or decode (default: decode)
  --model     zoo model, folder, or preset with random weights (default: mistral-7b)
  --layers    only the first of the model's; 0: all (default: 2)
  --context   tokens before decoding (default: 8k)
  --batch     sequences at a time (default: 1)
  --out       file of the report, without its ending (default: runs/profiles/...)
$own_options
Reads KVGAUGE, the program, by default build/cuda/kvgauge.
TEXT
}

# Sets method, phase, stage, ... from the command line; other options go to own_option NAME VALUE.
parse() {
  [[ ${1:-} != --help && ${1:-} != -h ]] || { usage; exit 0; }
  [[ $# -ge 2 ]] || { usage >&2; exit 1; }
  method=$1 phase=$2 stage=decode model=mistral-7b layers=2 context=8k batch=1 out=
  shift 2
  [[ $phase == all || " $phases " == *" $phase "* ]] ||
    stop "PHASE: found '$phase', expected one of ${phases// /, }, all"
  while [[ $# -gt 0 ]]; do
    [[ $# -ge 2 ]] || stop "$1: found no value"
    case $1 in
      --stage) stage=$2 ;;
      --model) model=$2 ;;
      --layers) layers=$2 ;;
      --context) context=$2 ;;
      --batch) batch=$2 ;;
      --out) out=$2 ;;
      *) own_option "$1" "$2" || stop "found option $1, expected those that --help lists" ;;
    esac
    shift 2
  done
  [[ $stage == prefill || $stage == decode ]] ||
    stop "--stage: found '$stage', expected prefill or decode"
  [[ -n $out ]] || out=runs/profiles/${method//[^a-zA-Z0-9.=]/_}-$stage-$phase-$context-b$batch
}

# find_tool NAME: its path, from PATH or beside nvcc.
find_tool() {
  command -v "$1" || { [[ -x /usr/local/cuda/bin/$1 ]] && echo "/usr/local/cuda/bin/$1"; } ||
    stop "found no $1, expected NVIDIA's $2 on PATH"
}

# Sets command, the run to look at: one round, a few steps, no report of its own.
prepare() {
  nvidia-smi -L >/dev/null 2>&1 || stop "found no GPU, expected an NVIDIA GPU and its driver"
  local kvgauge=${KVGAUGE:-build/cuda/kvgauge}
  [[ -x $kvgauge ]] || stop "found no $kvgauge, expected it built by scripts/build.sh cuda kvgauge"
  mkdir -p "$(dirname "$out")"
  record=$(mktemp -d)
  trap 'rm -rf "$record"' EXIT
  command=("$kvgauge" bench latency --ops cuda --nvtx --no-report --run-folder "$record/run"
    --model "$model" --layers "$layers" --methods "$method" --contexts "$context"
    --batches "$batch" --stages "$stage" --repeats 1 --steps 8)
}
