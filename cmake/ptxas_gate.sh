#!/usr/bin/env bash
# ptxas_gate.sh KERNELS TABLE REPORT...
# Judges reports of ptxas_report.sh. Fails, with one line each, when
#   - a kernel named in the file KERNELS (one name a line, # starts a comment) spills registers, or a
#     function does that it calls without inlining (those follow their kernel in a report);
#   - ptxas gave one of the warnings that mean a serialised or unfitting Hopper kernel: C7508
#     (setmaxnreg ignored), C7510 (wgmma serialised), C7517 (waits inserted for wgmma);
#   - a named kernel is in no report, so that the list cannot go stale.
# Writes what every kernel uses to TABLE.
set -euo pipefail
kernels=$1
table=$2
shift 2
for report in "$@"; do
  [[ -f $report ]] || { echo "ptxas gate: found no $report, expected one beside each object" >&2; exit 1; }
done

demangle="cat"
command -v c++filt >/dev/null && demangle='c++filt'

awk -v kernels="$kernels" '
  # Whether a mangled name is that of function `name`: identifiers carry their length.
  function is_named(mangled, name) { return index(mangled, length(name) name) > 0 }
  function fail(message) { print "FAIL " message; failures++ }
  BEGIN {
    while ((getline line < kernels) > 0) {
      sub(/#.*/, "", line)
      gsub(/[ \t]/, "", line)
      if (line != "") named[line] = 0
    }
  }
  FNR == 1 { source = FILENAME; sub(/.*\//, "", source); sub(/\.o\.ptxas$/, "", source); entry = "" }
  /\(C75(08|10|17)\)/ { fail(source ": " $0) }
  /Compiling entry function/ {
    split($0, quoted, "\047")
    entry = quoted[2]
    architecture = quoted[4]
    counted = 0
    for (name in named) if (is_named(entry, name)) { named[name]++; counted = 1 }
  }
  /Function properties for/ { current = $NF }
  /bytes spill stores/ {
    spills = $5 " B stored, " $9 " B loaded"
    if (counted && $5 + $9 > 0) {
      fail(source ": " current " (" architecture ") spills registers: " spills)
    }
    if (current == entry) stack = $1
  }
  /Used [0-9]+ registers/ {
    registers = shared = 0
    for (i = 1; i < NF; ++i) {
      if ($i == "Used") registers = $(i + 1)
      if ($(i + 2) ~ /^smem/) shared = $i
    }
    printf "%-8s %4d registers %6d B shared %5d B stack  %s %s\n", architecture, registers, shared,
           stack, counted ? "gated" : "     ", entry
  }
  END {
    for (name in named) if (!named[name]) fail(kernels ": no kernel is called " name)
    exit failures > 0
  }' "$@" >"$table.raw" && status=0 || status=$?
grep -v '^FAIL ' "$table.raw" | sort -k8 | $demangle >"$table" || true
sed -n 's/^FAIL /ptxas gate: /p' "$table.raw" | $demangle >&2
rm -f "$table.raw"
if [[ $status != 0 ]]; then
  rm -f "$table"
  exit 1
fi
echo "ptxas gate: $(wc -l <"$table") kernels, $(grep -c ' gated ' "$table" || true) of them named, no spills"
