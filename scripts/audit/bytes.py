"""Bytes of the bounded state: the formula, and what kvgauge counts for the same banks.

    python3 scripts/audit/bytes.py --kvgauge build/cpu/kvgauge

Needs no packages. `package_bytes.py` measures the published package's own tensors.
"""

import csv
import io
import pathlib
import subprocess
import sys

import common
from geometry import BANKS, KIB, LAYERS, MIB, state_bytes, state_parts


def kvgauge_bytes(program, layer, banks):
    """B a layer that kvgauge counts for the published semantics."""
    method = (f"landmark(window={banks.window},exact={banks.exact},summary={banks.summary},"
              "semantics=reference)")
    command = [program, "inspect", "cache", "--preset", layer.preset, "--methods", method,
               "--context", "128k", "--csv"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(f"bytes: {found.stderr.strip()}")
    row = next(csv.DictReader(io.StringIO(found.stdout)))
    return int(row["B a layer"].replace(",", ""))


def main():
    args = common.parser(__doc__)
    args.add_argument("--kvgauge", default="build/cpu/kvgauge", help="the program")
    args = args.parse_args()
    if not pathlib.Path(args.kvgauge).is_file():
        sys.exit(f"bytes: --kvgauge: found no {args.kvgauge}, expected the built program")
    values, rows = {}, []
    for layer_name, layer in LAYERS.items():
        for banks_name, banks in BANKS.items():
            parts = state_parts(layer, banks)
            total = state_bytes(layer, banks)
            counted = kvgauge_bytes(args.kvgauge, layer, banks)
            key = f"{layer_name}.{banks_name}"
            values |= {f"{key}.{part}": size for part, size in parts.items()}
            values |= {f"{key}.total": total, f"{key}.kib": total / KIB,
                       f"{key}.model_mib": total * layer.layers / MIB,
                       f"{key}.model_kv_mib": parts["kv"] * layer.layers / MIB,
                       f"{key}.kvgauge": counted}
            rows.append([key, *parts.values(), total, f"{total / KIB:,.1f}", counted])
    common.table(["layer and banks", "keys+values", "exact norm", "summary norm", "bookkeeping",
                  "total B", "KiB", "kvgauge B"], rows)
    common.write(args.json, values)


main()
