"""How many slots of the summary bank come into use, by how much keys have in common.

    python scripts/audit/summary_collapse.py

8,192 tokens into the package's banks (Mistral's heads, 256/64/64, untouched gate) by prefill in
blocks of 256, and 2,048 token by token. A key is sqrt(share) times a vector common to all tokens
plus sqrt(1 - share) times its own. Zero initial values are what the package trains with, random
ones what it evaluates with.
"""

import coda
import common
import torch
from geometry import BANKS, LAYERS

TOKENS, DECODE_TOKENS, BLOCK = 8192, 2048, 256
SHARES = (0.0, 0.1, 0.3, 0.5)


def keys_and_values(share, layer, tokens):
    shape = (1, layer.num_kv_heads, tokens, layer.head_dim)
    common_part = torch.randn(1, layer.num_kv_heads, 1, layer.head_dim)
    keys = share**0.5 * common_part + (1 - share) ** 0.5 * torch.randn(shape)
    return keys, torch.randn(shape)


def used(layer, share, mem_init, decode):
    torch.manual_seed(0)
    tokens = DECODE_TOKENS if decode else TOKENS
    keys, values = keys_and_values(share, layer, tokens)
    gates = torch.full((1, tokens), float(torch.sigmoid(torch.tensor(-2.0))))
    state = coda.fresh(layer, mem_init=mem_init)
    coda.absorb(layer, state, keys, values, gates, 1 if decode else BLOCK)
    return int(state.allowed[0, layer.window + layer.Me :].sum())


def main():
    args = common.parser(__doc__).parse_args()
    coda.candidate_order("cuda")
    with torch.device("meta"):  # no projection is used
        layer = coda.bounded(LAYERS["mistral-7b"], BANKS["medium"])
    layer.summary_eta_logit = torch.nn.Parameter(torch.full((layer.num_kv_heads,), -3.0))
    values, rows = {}, []
    with torch.no_grad():
        for share in SHARES:
            row = [f"{share:.0%}"]
            for mem_init, decode in (("zeros", False), ("random_normal", False),
                                     ("random_normal", True)):
                found = used(layer, share, mem_init, decode)
                path = "decode" if decode else "prefill"
                values[f"{path}.{mem_init}.{share}"] = found
                row.append(found)
            rows.append(row)
    common.table(["energy in common", "prefill, zeros", "prefill, random", "decode, random"], rows)
    common.write(args.json, values, **coda.versions())


main()
