"""Through what the write gate learns: its gradient, by whether evicted tokens are detached.

    python scripts/audit/gate_gradient.py

One layer (D 512, 8/2 heads, window 64) in training mode, 512 tokens in blocks of 64, a random
linear loss. The norm of the gradient of the gate's weight and of the EMA rates, with both banks
and with one.
"""

import coda
import common
import torch
from geometry import LAYERS, Banks

BANKS = {"both banks": Banks(64, 16, 16), "exact only": Banks(64, 16, 0),
         "summary only": Banks(64, 0, 16)}


def norm(parameter):
    return 0.0 if parameter.grad is None else float(parameter.grad.norm())


def gradients(banks, detach):
    torch.manual_seed(0)
    layer = coda.bounded(LAYERS["test"], banks, detach_evicted=detach).train()
    layer.write_proj.weight.data.normal_(std=0.02)  # at zero all gates would tie
    x = torch.randn(1, 512, layer.embed_dim)
    y, _ = layer.prefill_chunked(x, coda.fresh(layer, mem_init="zeros"), block_size=64)
    (y * torch.randn_like(y)).sum().backward()
    return norm(layer.write_proj.weight), norm(layer.summary_eta_logit)


def main():
    args = common.parser(__doc__).parse_args()
    values, rows = {}, []
    for name, banks in BANKS.items():
        row = [name]
        for detach in (True, False):
            gate, rate = gradients(banks, detach)
            key = f"{name.replace(' ', '_')}.{'detached' if detach else 'attached'}"
            values |= {f"{key}.gate": gate, f"{key}.rate": rate,
                       f"{key}.gate_learns": gate > 0, f"{key}.rate_learns": rate > 0}
            row += [gate, rate]
        rows.append(row)
    common.table(["banks", "gate, detached", "rate, detached", "gate, attached", "rate, attached"],
                 rows)
    common.write(args.json, values, **coda.versions())


main()
