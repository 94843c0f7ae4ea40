"""The package's summary-bank kernel beside its PyTorch update, by Triton's interpreter on a CPU.

    python scripts/audit/summary_kernel.py

One head of 128, 16 candidates, a bank of which half the slots are in use. The interpreter runs the
instances of a kernel one after another, so nothing here can race: what differs is what the kernel
computes. It works through a bank in parts of 32 slots; a bank of 32 has one part, one of 64 two.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import coda  # noqa: E402
import common  # noqa: E402
import torch  # noqa: E402
from coda_gqa_l.triton_summary_bank import summary_bank_update  # noqa: E402
from geometry import Banks, Layer  # noqa: E402

WINDOW, PART, CANDIDATES, TOLERANCE = 64, 32, 16, 1e-4


def compare(slots):
    """Whether the kernel's bank is PyTorch's, and which slots each of them changed."""
    torch.manual_seed(0)
    layer = coda.bounded(Layer(128, 1, 1, 128, 1, ""), Banks(WINDOW, 8, slots))
    state = coda.fresh(layer)
    bank = slice(layer.window + layer.Me, None)
    state.allowed[:, bank][:, : slots // 2] = True
    k, v = torch.randn(1, 1, CANDIDATES, 128), torch.randn(1, 1, CANDIDATES, 128)
    gates = torch.rand(1, CANDIDATES) / 2 + 0.2
    before = state.v_buf[:, :, bank].clone()
    fused = summary_bank_update(
        k, v, gates, state.k_buf[:, :, bank].clone(), before, state.allowed[:, bank].clone(),
        state._sum_lf_k_norm.clone(), eta_logit=float(layer.summary_eta_logit),
        energy_scale=layer.energy_scale, lf_start=layer.lf_start,
        overwrite_on_insert=layer.summary_overwrite_on_insert)[1]
    layer._summary_update_block_hard(state, k_sel=k, v_sel=v, w_tok=gates,
                                     pos_sel=torch.arange(CANDIDATES)[None])
    plain = state.v_buf[:, :, bank]
    changed = [(after != before).any(dim=-1)[0, 0] for after in (fused, plain)]
    return float((fused - plain).abs().max()), *changed


def main():
    args = common.parser(__doc__).parse_args()
    coda.no_summary_kernel()
    values, rows = {}, []
    with torch.no_grad():
        for slots in (PART, 2 * PART):
            apart, fused, plain = compare(slots)
            values |= {f"{slots}.agrees": apart < TOLERANCE, f"{slots}.values_apart": apart,
                       f"{slots}.kernel_changed": int(fused.sum()),
                       f"{slots}.pytorch_changed": int(plain.sum())}
            if slots > PART:
                values |= {f"{slots}.kernel_changed_second_part": int(fused[PART:].sum()),
                           f"{slots}.pytorch_changed_second_part": int(plain[PART:].sum())}
            rows.append([slots, apart, int(fused.sum()), int(plain.sum())])
    common.table(["slots", "values apart", "slots changed, kernel", "PyTorch"], rows)
    common.write(args.json, values, **coda.versions())


main()
