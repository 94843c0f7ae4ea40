"""What the published needle demonstration tests, and what happens when its parts are changed.

    python scripts/audit/needle_demo.py

The demonstration takes one layer with random weights (D 512, 8/2 heads, window 128, banks 32/32),
sets the write gate's weight by hand to a unit direction u, feeds tokens -5u with a little noise and
one "needle" +5u at position 64, and counts a success when some key that is still stored has a
cosine above 0.999 with the needle's. Here the same, and with
  * the gate as a layer is made (weight 0, bias -2),
  * ordinary tokens (standard normal) in place of -5u, gate as made,
  * ordinary tokens, the gate set by hand, and one token in 50 as worth keeping as the needle.
Each over --seeds seeds; the share of them in which the needle is still stored. By three procedures:
the demonstration's on a CPU (fp32, blocks of 128), its on a GPU (bf16, blocks of 256, candidates in
the order in which CUDA's topk yields them), and on a CPU with the candidates sorted by their gates.
"""

import coda
import common
import torch
from geometry import LAYERS, Banks

LENGTHS = (256, 1024, 4096, 16384)
NEEDLE = 64
BANKS = Banks(128, 32, 32)
# How the demonstration runs: type, tokens a block, order of a block's candidates.
PROCEDURES = {"cpu": (torch.float32, 128, "cpu"),  # on a CPU
              "cuda": (torch.bfloat16, 256, "cuda"),  # on a GPU, its order of candidates emulated
              "sorted": (torch.float32, 128, "sorted"),  # largest gates first, as described
              "gpu": (torch.bfloat16, 256, "gpu")}  # on a GPU


def set_gate(layer, direction):
    layer.write_proj.weight.data.copy_(direction[None])
    layer.write_proj.bias.data.zero_()


def tokens_of(case, length, direction):
    x = torch.randn(length, direction.numel())
    if case in ("demonstration", "gate as made"):
        x = -5 * direction + 0.01 * x
    if case == "rivals":
        # Gate of an ordinary token: below both thresholds, as in the demonstration.
        x = x - (x @ direction + 5)[:, None] * direction
        rivals = torch.rand(length) < 0.02
        x[rivals] += 10 * direction
    x[NEEDLE] = 5 * direction + 0.01 * torch.randn(direction.numel())
    return x[None]


def run(case, length, seed, device, dtype, block):
    torch.manual_seed(seed)
    layer = coda.bounded(LAYERS["test"], BANKS)
    direction = torch.nn.functional.normalize(torch.randn(layer.embed_dim), dim=0)
    if case in ("demonstration", "rivals"):
        set_gate(layer, direction)
    x = tokens_of(case, length, direction)
    layer, x = layer.to(device, dtype), x.to(device, dtype)
    k, v, g = coda.keys_values_gates(layer, x)
    state = coda.fresh(layer, dtype, device)
    coda.absorb(layer, state, k, v, g, block)
    needle = k[:, :, NEEDLE : NEEDLE + 1]
    exact = slice(0, BANKS.window + BANKS.exact)  # the window and the exact bank
    cosine = torch.cosine_similarity(state.k_buf[:, :, exact].float(), needle.float(), dim=-1)
    stored = (cosine > 0.999) & state.allowed[:, None, exact]
    return bool(stored.any()), int((g >= layer.write_gate_threshold_exact).sum())


def main():
    args = common.parser(__doc__)
    args.add_argument("--seeds", type=int, default=5)
    args.add_argument("--device", default="cpu", help="cuda: the order of candidates is its own")
    args = args.parse_args()
    coda.no_summary_kernel()
    procedures = ("cpu", "cuda", "sorted") if args.device == "cpu" else ("gpu",)
    values, rows = {}, []
    for case in ("demonstration", "gate as made", "ordinary tokens", "rivals"):
        for procedure in procedures:
            dtype, block, order = PROCEDURES[procedure]
            coda.candidate_order(order)
            row = [case, procedure]
            for length in LENGTHS:
                with torch.no_grad():
                    found = [run(case, length, seed, args.device, dtype, block)
                             for seed in range(args.seeds)]
                share = sum(stored for stored, _ in found) / args.seeds
                admitted = max(count for _, count in found)
                values[f"{case.replace(' ', '_')}.{procedure}.{length}.stored"] = share
                values[f"{case.replace(' ', '_')}.{length}.admitted"] = admitted
                row.append(f"{share:.0%}")
            rows.append([*row, admitted])
    common.table(["case", "procedure", *[f"{length:,}" for length in LENGTHS],
                  "tokens past the gate at 16K"], rows)
    common.write(args.json, values, seeds=args.seeds, **coda.versions())


main()
