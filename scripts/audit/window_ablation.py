"""Whether the published ablation of bank sizes could show an effect of the banks.

    python scripts/audit/window_ablation.py

It evaluates chunks of 512 tokens with fresh state, in blocks of 256. With a window of 256 or more
each query then still sees its whole chunk, whatever the banks. Here one chunk through layers of
equal weights (D 512, 8/2 heads, fp32): the largest difference of each configuration from the
unbounded layer, and for contrast the same for 2,048 tokens.
"""

import coda
import common
import torch
from geometry import BANKS, LAYERS, Banks

CONFIGURATIONS = {"tiny": BANKS["tiny"], "medium": BANKS["medium"], "large": BANKS["large"],
                  "window-only": Banks(256, 0, 0)}


def main():
    args = common.parser(__doc__).parse_args()
    torch.manual_seed(0)
    dense = coda.unbounded(LAYERS["test"])
    values, rows = {}, []
    with torch.no_grad():
        for name, banks in CONFIGURATIONS.items():
            layer = coda.bounded(LAYERS["test"], banks)
            layer.load_state_dict(dense.state_dict(), strict=False)
            row = [name]
            for length in (512, 2048):
                x = torch.randn(1, length, layer.embed_dim)
                y, _ = layer.prefill_chunked(x, coda.fresh(layer), block_size=256)
                found = float((y - dense(x)[0]).abs().max())
                values |= {f"{name}.{length}.difference": found,
                           f"{name}.{length}.equals_dense": found < 1e-5}
                row.append(f"{found:.1e}")
            rows.append(row)
    common.table(["configuration", "chunk of 512", "2,048 tokens"], rows)
    common.write(args.json, values, **coda.versions())


main()
