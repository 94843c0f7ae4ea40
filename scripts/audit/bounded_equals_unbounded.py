"""Largest difference between the bounded layer and the unbounded one where nothing is evicted.

    python scripts/audit/bounded_equals_unbounded.py

The same weights (D 512, 8/2 heads, fp32), window as long as the input; beside it a window of an
eighth of the length, where they must differ: a check that could not fail would show nothing.
"""

import coda
import common
import torch
from geometry import LAYERS, Banks


def difference(length, window):
    torch.manual_seed(0)
    dense = coda.unbounded(LAYERS["test"])
    layer = coda.bounded(LAYERS["test"], Banks(window, 64, 64))
    layer.load_state_dict(dense.state_dict(), strict=False)
    x = torch.randn(1, length, layer.embed_dim)
    y, _ = layer.prefill_chunked(x, coda.fresh(layer), block_size=256)
    return float((y - dense(x)[0]).abs().max())


def main():
    args = common.parser(__doc__).parse_args()
    values, rows = {}, []
    with torch.no_grad():
        for length in (512, 1024, 2048):
            equal, short = difference(length, length), difference(length, length // 8)
            values |= {f"{length}.difference": equal, f"{length}.below_1e-5": equal < 1e-5,
                       f"{length}.short_window": short, f"{length}.short_differs": short > 1e-3}
            rows.append([length, f"{equal:.1e}", f"{short:.1e}"])
    common.table(["tokens", "window = tokens", "window = tokens / 8"], rows)
    common.write(args.json, values, **coda.versions())


main()
