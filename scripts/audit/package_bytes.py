"""Bytes of the bounded state of the published package: the sum of the tensors that it allocates.

    python scripts/audit/package_bytes.py
"""

import dataclasses

import coda
import common
import torch
from geometry import BANKS, LAYERS, state_bytes


def state_of(layer, banks):
    with torch.device("meta"):  # the projections, which are large, are not needed
        module = coda.bounded(layer, banks)
    state = module.init_state(batch_size=1, device=torch.device("cpu"), dtype=torch.bfloat16)
    return module, state


def tensor_bytes(state):
    tensors = [getattr(state, field.name) for field in dataclasses.fields(state)]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


def main():
    args = common.parser(__doc__).parse_args()
    values, rows = {}, []
    for layer_name, layer in LAYERS.items():
        for banks_name, banks in BANKS.items():
            module, state = state_of(layer, banks)
            allocated = tensor_bytes(state)
            says = module.cache_bytes(batch_size=1, dtype=torch.bfloat16)
            key = f"{layer_name}.{banks_name}"
            values |= {f"{key}.allocated": allocated, f"{key}.cache_bytes": says}
            rows.append([key, allocated, says, state_bytes(layer, banks)])
    common.table(["layer and banks", "allocated B", "its cache_bytes()", "formula"], rows)
    common.write(args.json, values, **coda.versions())


main()
