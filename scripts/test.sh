#!/usr/bin/env bash
# The tests, from a fresh clone: installs what is missing, builds, runs every test that needs no GPU.
# Arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build.sh cpu
exec ctest --preset cpu -j "$(nproc)" "$@"
