"""How far back the exact bank reaches after prefill and after decode of the same tokens.

    python scripts/audit/prefill_decode_gap.py

The package admits at most 8 tokens of a block, but every token that leaves the window in decode.
Here random tokens through one layer (D 512, 8/2 heads, banks 256/64/64, gate as made and an
ordinary spread of gates); the oldest position in the exact bank, counted back from the end, and
the hits: how often a token was taken for one that is already stored.
"""

import coda
import common
import torch
from geometry import BANKS, LAYERS

TOKENS, BLOCK = 4096, 256


def reach(spread, block):
    torch.manual_seed(0)
    layer = coda.bounded(LAYERS["test"], BANKS["medium"], collect_metrics=True)
    k, v, _ = coda.keys_values_gates(layer, torch.randn(1, TOKENS, layer.embed_dim))
    gates = torch.sigmoid(-2 + spread * torch.randn(1, TOKENS))
    state = coda.fresh(layer)
    coda.absorb(layer, state, k, v, gates, block)
    used = state.allowed[0, layer.window : layer.window + layer.Me]
    oldest = int(state.mem_last_exact[0][used].min())
    return TOKENS - oldest, state.metrics["exact_hits"]


def main():
    args = common.parser(__doc__).parse_args()
    coda.candidate_order("cuda")
    values, rows = {}, []
    with torch.no_grad():
        for name, spread in (("gate as made", 0.0), ("gates spread", 1.0)):
            row = [name]
            for path, block in (("prefill", BLOCK), ("decode", 1)):
                distance, hits = reach(spread, block)
                key = f"{name.replace(' ', '_')}.{path}"
                values |= {f"{key}.reach": distance, f"{key}.hits": hits}
                row += [distance, hits]
            rows.append(row)
    common.table(["gates", "prefill reaches back", "hits", "decode reaches back", "hits"], rows)
    common.write(args.json, values, **coda.versions())


main()
