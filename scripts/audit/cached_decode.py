"""Whether a step of the unbounded layers with a cache gives what the whole sequence gives.

    python scripts/audit/cached_decode.py

The published decode rates of the two unbounded layers are of this call. The benchmark lets
is_causal stand at its default; with one query and a longer cache PyTorch aligns that mask at the
upper left, so the query sees the first key alone.
"""

import coda
import common
import torch
from geometry import LAYERS

LENGTH = 64


def difference(layer, **step_arguments):
    """Largest difference, relative to the largest output, of the last token."""
    x = torch.randn(1, LENGTH, LAYERS["test"].embed)
    whole, _ = layer(x)
    _, cache = layer(x[:, :-1])
    step, _ = layer(x[:, -1:], past_key_value=cache, **step_arguments)
    return float((step[0, -1] - whole[0, -1]).abs().max() / whole[0, -1].abs().max())


def main():
    args = common.parser(__doc__).parse_args()
    torch.manual_seed(0)
    values, rows = {}, []
    with torch.no_grad():
        for name, layer in (("plain GQA", coda.plain(LAYERS["test"])),
                            ("CoDA unbounded", coda.unbounded(LAYERS["test"]))):
            called, unmasked = difference(layer), difference(layer, is_causal=False)
            key = name.split()[0].lower()
            values |= {f"{key}.as_called": called, f"{key}.without_mask": unmasked,
                       f"{key}.as_called_wrong": called > 1e-2,
                       f"{key}.without_mask_right": unmasked < 1e-4}
            rows.append([name, called, unmasked])
    common.table(["layer", "difference as called", "with is_causal=False"], rows)
    common.write(args.json, values, **coda.versions())


main()
