#!/usr/bin/env bash
# Configures and builds one preset: scripts/build.sh [cpu|cuda|asan] [target...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-cpu}
shift || true
log=build/$preset.configure.log
mkdir -p build
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
echo "build: preset $preset"
cmake --build --preset "$preset" ${1:+--target "$@"} -- --quiet
