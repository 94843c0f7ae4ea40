"""Published ratios of cache sizes: which sizes and which context length give each of them.

    python3 scripts/audit/ratios.py

For each ratio: the context and the size that the text states with it, the two sizes that reproduce
it, and the ratio at the stated context, once over keys and values only and once over the whole
state that a sequence needs. Needs no packages.
"""

import common
from geometry import BANKS, GIB, KIB, LAYERS, MIB, dense_bytes, state_bytes, state_parts

MISTRAL, SEVENTY = LAYERS["mistral-7b"], LAYERS["70b"]
K = 1024


def sizes(layer, tokens, layers=None):
    """Dense cache, bounded keys and values, bounded state of a model, medium banks, in bytes."""
    count = layer.layers if layers is None else layers
    medium = BANKS["medium"]
    return (dense_bytes(layer, tokens) * count, state_parts(layer, medium)["kv"] * count,
            state_bytes(layer, medium) * count)


# key: (as published, layer, stated tokens, bounded size that reproduces it, dense size that does)
# Bounded sizes are as the texts round them.
RATIOS = {
    "9.5": (9.5, MISTRAL, 4 * K, sizes(MISTRAL, 0)[2], 512 * MIB),
    "10.7": (10.7, MISTRAL, 2 * K, 48 * MIB, 512 * MIB),
    "682": (682, MISTRAL, 128 * K, 48 * MIB, 32 * GIB),
    "1185": (1185, MISTRAL, 128 * K, 54, 64_000),
    "18.8": (18.8, SEVENTY, 2 * K, 136 * MIB, 2560 * MIB),
    "21.3": (21.3, SEVENTY, 2 * K, 120 * MIB, 2560 * MIB),
    "341": (341, SEVENTY, 32 * K, 120 * MIB, 40 * GIB),
    "1176": (1176, SEVENTY, 128 * K, 136, 160_000),
    "1365": (1365, SEVENTY, 128 * K, 120 * MIB, 160 * GIB),
}


def in_bytes(size):
    """Two texts divide decimal MB by MiB; their numbers stand as such."""
    return size if size > MIB else size * MIB


def per_layer(values, rows):
    """37x: dense layer at 8K over the whole state with tiny banks."""
    dense = dense_bytes(MISTRAL, 8 * K)
    tiny, medium = (state_bytes(MISTRAL, BANKS[name]) for name in ("tiny", "medium"))
    values |= {"37.tiny_at_8k": dense / tiny, "37.medium_at_8k": dense / medium}
    rows.append(["37 (a layer)", "-", dense / MIB, tiny / MIB, dense / tiny, "8K, tiny",
                 "-", dense / medium])
    test = LAYERS["test"]
    dense, medium = dense_bytes(test, 4 * K), state_bytes(test, BANKS["medium"])
    values |= {"test.dense_mib_at_4k": dense / MIB, "test.state_kib": medium / KIB,
               "test.ratio_at_4k": dense / medium}
    rows.append(["9.4 (test layer)", "-", dense / MIB, medium / MIB, dense / medium, "4K", "-",
                 dense / medium])


def main():
    args = common.parser(__doc__).parse_args()
    values, rows = {}, []
    for key, (published, layer, tokens, bounded, dense) in RATIOS.items():
        true_dense, true_kv, true_state = sizes(layer, tokens)
        # The context at which a dense cache of this model has the size that was divided.
        implied = in_bytes(dense) / (dense_bytes(layer, 1) * layer.layers)
        values |= {f"{key}.reproduced": dense / bounded, f"{key}.implied_tokens": implied,
                   f"{key}.implied_over_stated": implied / tokens,
                   f"{key}.true_dense_mib": true_dense / MIB,
                   f"{key}.true_kv_only": true_dense / true_kv,
                   f"{key}.true_state": true_dense / true_state}
        rows.append([f"{published:g}", f"{tokens // K}K", in_bytes(dense) / MIB,
                     in_bytes(bounded) / MIB, dense / bounded, f"{implied / K:.0f}K",
                     true_dense / true_kv, true_dense / true_state])
    # The article writes the product of 128,000 tokens out, and prints four times its value.
    product = 2 * 8 * 128_000 * 128 * 2 * 80
    values |= {"article.product_gb": product / 1e9, "article.printed_gb": 167.8,
               "article.printed_over_product": 167.8e9 / product,
               "article.true_state_at_128000": product / sizes(SEVENTY, 0)[2]}
    per_layer(values, rows)
    common.table(["published", "stated at", "dense MiB used", "bounded MiB used", "reproduced",
                  "dense size is at", "true, K and V only", "true, whole state"], rows)
    print(f"\n2*8*128000*128*2*80 bytes = {product / 1e9:.1f} GB; printed: 167.8 GB")
    common.write(args.json, values)


main()
