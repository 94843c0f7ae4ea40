#!/usr/bin/env bash
# The main job, from a fresh clone: installs what is missing, builds, runs the default suite on the model that
# ships with kvgauge, and leaves a report. Arguments go to `kvgauge eval`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build.sh cpu kvgauge
exec build/cpu/kvgauge eval "$@"
