#!/usr/bin/env bash
# Installs what kvgauge needs from the distribution's packages: Debian 12, Ubuntu 24.04. Safe to run again;
# does nothing where everything is there. Needs root or sudo.
set -euo pipefail

packages=(
  build-essential cmake ninja-build ccache pkg-config git      # the build
  libfmt-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev   # formatting, suites, records, flags
  libssl-dev libsentencepiece-dev libopenblas-dev              # SHA-256, tokenizers, matrix products
  zlib1g-dev                                                   # compressed records
  libgtest-dev libgmock-dev                                    # tests
  libbenchmark-dev                                             # kernel_bench, where there is CUDA
)
# The format check and reports seen by eye are for contributors: `setup.sh --developer`.
if [[ "${1:-}" == "--developer" ]]; then
  packages+=(clang-format-14)
elif [[ $# -gt 0 ]]; then
  echo "usage: scripts/setup.sh [--developer]" >&2
  exit 2
fi

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this system has no dpkg; install the equivalents of: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ "$status" == "install ok installed" ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "setup: all packages are there"
  exit 0
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: run as root, or install sudo; missing: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  "${missing[@]}" >/dev/null
echo "setup: done"
