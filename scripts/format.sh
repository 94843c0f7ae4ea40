#!/usr/bin/env bash
# Formats the C++ and CUDA sources; with --check, says which are not formatted and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(command -v clang-format-14 || command -v clang-format)
mapfile -t files < <(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
if [[ "${1:-}" == "--check" ]]; then
  "$tool" --dry-run -Werror "${files[@]}"
  echo "format: ${#files[@]} files are formatted"
else
  "$tool" -i "${files[@]}"
fi
