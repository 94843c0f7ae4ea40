"""How many evictions the published decode benchmark times.

    python scripts/audit/decode_evicts.py

The benchmark fills the cache with min(200, window + 4) steps and then runs 5 steps to warm up and
50 that it times. Here the same steps on the package's layer, counting what its own counters count.
"""

import coda
import common
import torch
from geometry import BANKS, LAYERS, Banks

CONFIGURATIONS = {"tiny": BANKS["tiny"], "medium": BANKS["medium"],
                  "window-only": Banks(256, 0, 0)}


def steps(layer, state, count):
    before = state.metrics["total_evictions"]
    for _ in range(count):
        layer.step(torch.randn(1, 1, layer.embed_dim), state)
    return state.metrics["total_evictions"] - before


def main():
    args = common.parser(__doc__).parse_args()
    torch.manual_seed(0)
    values, rows = {}, []
    for name, banks in CONFIGURATIONS.items():
        layer = coda.bounded(LAYERS["test"], banks, collect_metrics=True)
        state = coda.fresh(layer)
        filled = min(200, banks.window + 4)
        with torch.no_grad():
            untimed = steps(layer, state, filled) + steps(layer, state, 5)
            timed = steps(layer, state, 50)
        values |= {f"{name}.tokens": state.pos, f"{name}.timed_evictions": timed,
                   f"{name}.untimed_evictions": untimed}
        rows.append([name, banks.window, state.pos, untimed, timed])
    common.table(["configuration", "window", "tokens in all", "evictions before",
                  "evictions in the 50 timed steps"], rows)
    common.write(args.json, values, **coda.versions())


main()
