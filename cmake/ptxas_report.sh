#!/usr/bin/env bash
# A launcher in front of nvcc (and ccache): ptxas_report.sh COMMAND... -o OBJECT
# Runs the command and keeps what `ptxas -v` says in OBJECT.ptxas, which ptxas_gate.sh judges. The
# rest of what the compiler says goes on to the console, as do warnings.
set -u
object=
previous=
for argument in "$@"; do
  [[ $previous == -o ]] && object=$argument
  previous=$argument
done
[[ -n $object ]] || exec "$@"

messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
"$@" 2>"$messages"
status=$?
verbose='^ptxas info  *: (Compiling entry|Function properties|Used |Compile time|[0-9]+ bytes gmem|Overriding )'
numbers='^ +[0-9]+ bytes stack frame'
grep -E '^ptxas |^ +[0-9]+ bytes stack frame' "$messages" >"$object.ptxas" || true
grep -vE "$verbose|$numbers" "$messages" >&2 || true
exit $status
