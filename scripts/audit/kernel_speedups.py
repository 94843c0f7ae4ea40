"""The package's two bank kernels beside what they are compared with, on a CUDA GPU.

    python scripts/audit/kernel_speedups.py --json FILE

Exact-bank routing (2 sequences, 8 KV heads of 128, 8 candidates, 64 slots): the Triton kernel, the
package's Python loop that serves as its reference, and the whole update of the bank with the
kernel and with the package's own vectorised PyTorch. Summary bank (64 candidates, 64 slots): the
Triton kernel, called with one rate for all heads, beside the package's PyTorch update, and how far
their results are apart. Medians of CUDA events.
"""

import coda
import coda_gqa_l.memory_banks as memory_banks
import coda_gqa_l.triton_bank_routing as routing
import common
import timing
import torch
from coda_gqa_l.triton_summary_bank import summary_bank_update
from geometry import BANKS, LAYERS

BATCH, EXACT_CANDIDATES, SUMMARY_CANDIDATES = 2, 8, 64


def half_full(layer):
    """A state whose banks have half their slots in use."""
    state = layer.init_state(batch_size=BATCH, device=torch.device("cuda"), dtype=torch.float32)
    for begin, slots in ((layer.window, layer.Me), (layer.window + layer.Me, layer.Ms)):
        state.allowed[:, begin : begin + slots // 2] = True
    state.mem_last_exact.copy_(torch.arange(layer.Me))
    return state


def candidates(layer, count):
    shape = (BATCH, layer.num_kv_heads, count, layer.head_dim)
    k, v = torch.randn(shape, device="cuda"), torch.randn(shape, device="cuda")
    gates = torch.rand(BATCH, count, device="cuda") / 2 + 0.2
    positions = torch.arange(1000, 1000 + count, device="cuda").expand(BATCH, count).contiguous()
    return k, v, gates, positions


def exact(layer, values):
    k, v, gates, positions = candidates(layer, EXACT_CANDIDATES)
    normalised = torch.nn.functional.normalize(v, dim=-1)
    state = half_full(layer)
    used = state.allowed[:, layer.window : layer.window + layer.Me]
    inputs = (normalised, state._exact_v_norm, used, state.mem_last_exact, gates, positions)
    settings = {"tau_gate": 0.1, "tau_match": 0.9, "tau_novel": 0.7, "refresh_on_hit": False}

    def update(with_kernel):
        def run(s):
            memory_banks._HAS_TRITON_ROUTE = with_kernel
            layer._exact_update_block_vectorized(s, k_sel=k, v_sel=v, pos_sel=positions,
                                                 gate_sel=gates)
        return timing.median_ms(run, 30, prepare=lambda: half_full(layer))

    kernel = timing.median_ms(lambda _: routing.exact_bank_route(*inputs, **settings), 30)
    loop = timing.median_ms(lambda _: routing._fallback(*inputs, **settings), 10)
    with_kernel, vectorised = update(True), update(False)
    values |= {"exact.kernel_ms": kernel, "exact.loop_ms": loop, "exact.over_loop": loop / kernel,
               "exact.update_with_kernel_ms": with_kernel, "exact.update_vectorised_ms": vectorised,
               "exact.over_vectorised": vectorised / with_kernel}


def summary(layer, values):
    k, v, gates, positions = candidates(layer, SUMMARY_CANDIDATES)
    coda.no_summary_kernel()
    state = half_full(layer)
    begin = layer.window + layer.Me
    bank = (state.k_buf[:, :, begin:].clone(), state.v_buf[:, :, begin:].clone(),
            state.allowed[:, begin:].clone(), state._sum_lf_k_norm.clone())
    settings = {"eta_logit": -3.0, "energy_scale": layer.energy_scale, "lf_start": layer.lf_start,
                "overwrite_on_insert": True}

    def pytorch(s):
        layer._summary_update_block_hard(s, k_sel=k, v_sel=v, pos_sel=positions, w_tok=gates)

    slow = timing.median_ms(pytorch, 30, prepare=lambda: half_full(layer))
    values["summary.pytorch_ms"] = slow
    try:
        fast = timing.median_ms(lambda _: summary_bank_update(k, v, gates, *bank, **settings), 30)
    except Exception as error:  # Triton has no common type for what does not compile
        print(f"the summary kernel does not run: {type(error).__name__}")
        values["summary.kernel_runs"] = False
        return
    pytorch(state)
    values_out = summary_bank_update(k, v, gates, *bank, **settings)[1]
    apart = float((values_out - state.v_buf[:, :, begin:]).abs().max())
    values |= {"summary.kernel_runs": True, "summary.kernel_ms": fast,
               "summary.over_pytorch": slow / fast, "summary.values_apart": apart,
               "summary.agrees": apart < 1e-3}


def main():
    args = common.parser(__doc__).parse_args()
    timing.require_cuda("kernel_speedups")
    torch.manual_seed(0)
    with torch.device("meta"):  # no projection is used
        layer = coda.bounded(LAYERS["mistral-7b"], BANKS["medium"])
    rates = torch.full((layer.num_kv_heads,), -3.0, device="cuda")
    layer.summary_eta_logit = torch.nn.Parameter(rates)
    values = {}
    with torch.inference_mode():
        exact(layer, values)
        summary(layer, values)
    common.table(["", "value"], [[key, value] for key, value in values.items()])
    common.write(args.json, values, **coda.versions(), **timing.device())


main()
