"""Golden states of the landmark banks, from the published package coda-gqa-l (1.3.1), on the CPU.

    python scripts/golden/coda_landmark.py model/cache/golden

Needs torch and coda-gqa-l. For each case a small layer with random weights takes in random tokens:
some calls of prefill, then decode steps. Written are the keys, values, gates and queries as the
package computed them, its attention outputs, and the banks after every call.

Two orders that PyTorch leaves open are fixed to what its CUDA code yields: topk(sorted=False) gives
the entries above the k-th in index order, then its ties in index order (torch.topk on the CPU leaves
them as std::nth_element did), and equal keys of a sorted topk keep their order. Nothing else of the
package is touched.
"""

import argparse
import pathlib

import coda_gqa_l.memory_banks as memory_banks
import torch
from coda_gqa_l import CoDAGQALandmarkPerf2
from safetensors.torch import save_file


class TorchWithCudaOrder:
    """The torch module, with a topk whose order does not depend on the device."""

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def topk(x, k, dim, largest, sorted):
        assert dim == 1
        values, order = torch.sort(x, dim=1, descending=largest, stable=True)
        order = order[:, :k]
        if not sorted:
            least = values[:, k - 1 : k]
            at_least = x.gather(1, order) == least
            key = at_least.to(torch.int64) * x.size(1) + order
            order = order.gather(1, key.argsort(dim=1))
        return x.gather(1, order), order


class Recorder:
    """Collects what passes between the projections and the output projection of a layer."""

    def __init__(self, layer):
        self.k, self.v, self.gate = [], [], []
        self.q, self.lam, self.out = [], [], []
        write_block, write_one = layer._write_block_fast, layer._write_one
        attend = layer._sdpa_stacked_two_stream

        def record_block(state, *, k_blk, v_blk, g_blk, pos0):
            self._keys(k_blk, v_blk, g_blk)
            write_block(state, k_blk=k_blk, v_blk=v_blk, g_blk=g_blk, pos0=pos0)

        def record_one(state, *, k_new, v_new, g_new):
            self._keys(k_new, v_new, g_new)
            write_one(state, k_new=k_new, v_new=v_new, g_new=g_new)

        def record_attention(*, q, q_noise, k, v, attn_mask, lam, is_causal=False):
            out = attend(q=q, q_noise=q_noise, k=k, v=v, attn_mask=attn_mask, lam=lam,
                         is_causal=is_causal)
            self.q.append(torch.stack([q[0].transpose(0, 1), q_noise[0].transpose(0, 1)], dim=1))
            self.lam.append(lam[0, :, :, 0].transpose(0, 1))
            self.out.append(out[0].transpose(0, 1))
            return out

        layer._write_block_fast, layer._write_one = record_block, record_one
        layer._sdpa_stacked_two_stream = record_attention

    def _keys(self, k, v, gate):
        self.k.append(k[0].transpose(0, 1))
        self.v.append(v[0].transpose(0, 1))
        self.gate.append(gate[0])

    def tensors(self):
        names = ("k", "v", "gate", "q", "lam", "out")
        return {name: torch.cat(getattr(self, name)).contiguous() for name in names}


def token_stream(generator, tokens, dim):
    """Random tokens; some repeat an earlier one exactly or nearly, so that every rule is met."""
    x = torch.randn(tokens, dim, generator=generator)
    for i in range(4, tokens):
        kind = int(torch.randint(0, 8, (1,), generator=generator))
        j = int(torch.randint(max(0, i - 24), i, (1,), generator=generator))
        if kind == 0:
            x[i] = x[j]  # the same gate, too
        elif kind <= 2:
            x[i] = x[j] + 0.45 * kind * torch.randn(dim, generator=generator)
    return x


def bank(layer, state):
    """What the banks hold, [slots, kv_heads, head_dim]."""
    w, e = layer.window, layer.window + layer.Me
    rows = lambda x, begin, end: x[0, :, begin:end].transpose(0, 1).contiguous().clone()
    return {
        "exact_k": rows(state.k_buf, w, e),
        "exact_v": rows(state.v_buf, w, e),
        "summary_k": rows(state.k_buf, e, layer.Lbuf),
        "summary_v": rows(state.v_buf, e, layer.Lbuf),
    }


def decisions(layer, state):
    return (
        state.allowed[0, layer.window :].to(torch.uint8).clone(),
        state.mem_last_exact[0].clone(),
    )


CASES = {
    # name: seed, dtype, (heads, kv_heads, head_dim), block, prefill calls, decode steps, layer options
    "zero_init": (1, torch.float32, (4, 2, 8), 8, [45], 14,
                  dict(window=8, num_landmarks_exact=4, num_landmarks_summary=4,
                       exact_candidates_per_block=3, summary_candidates_per_block=6)),
    "random_init": (2, torch.float32, (2, 2, 16), 32, [83], 8,
                    dict(window=16, num_landmarks_exact=8, num_landmarks_summary=8,
                         summary_candidates_per_block=20, mem_init="random_normal")),
    "refresh": (3, torch.float32, (4, 2, 8), 8, [20, 31], 12,
                dict(window=12, num_landmarks_exact=4, num_landmarks_summary=8,
                     exact_candidates_per_block=6, exact_refresh_on_hit=True,
                     summary_overwrite_on_insert=False, mem_init="random_normal")),
    "exact_only": (4, torch.float32, (2, 2, 8), 16, [30], 12,
                   dict(window=9, num_landmarks_exact=5, num_landmarks_summary=0)),
    "summary_only": (5, torch.float32, (2, 2, 8), 16, [30], 12,
                     dict(window=9, num_landmarks_exact=0, num_landmarks_summary=5)),
    "decode_only": (6, torch.float32, (2, 2, 8), 16, [], 40,
                    dict(window=8, num_landmarks_exact=4, num_landmarks_summary=4)),
    "bf16": (7, torch.bfloat16, (4, 2, 8), 8, [61], 12,
             dict(window=8, num_landmarks_exact=4, num_landmarks_summary=4,
                  exact_candidates_per_block=3, mem_init="random_normal")),
}


def run_case(name, folder):
    seed, dtype, (heads, kv_heads, head_dim), block, calls, steps, options = CASES[name]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    dim = heads * head_dim
    options = {"mem_init": "zeros", **options}
    layer = CoDAGQALandmarkPerf2(embed_dim=dim, num_heads=heads, num_kv_heads=kv_heads,
                                 head_norm_mode="identity", rope_interleaved=True, **options)
    with torch.no_grad():
        layer.write_proj.weight.normal_(0, 1.6 / dim**0.5)
        layer.theta.uniform_(0, 3)
        layer.lambda_proj.bias.fill_(-1)
        layer.summary_eta_logit.uniform_(-3, 0)
        layer.k_proj.weight.mul_(2)
    layer = layer.to(dtype).eval()
    x = token_stream(generator, sum(calls) + steps, dim).to(dtype).unsqueeze(0)

    state = layer.init_state(batch_size=1, device=torch.device("cpu"), dtype=dtype)
    out = {"initial_" + key: value for key, value in bank(layer, state).items()}
    recorder = Recorder(layer)
    valid, stamps, done = [], [], 0
    with torch.no_grad():
        for n in calls:
            _, state = layer.prefill_chunked(x[:, done : done + n], state, block_size=block)
            done += n
            valid.append(decisions(layer, state)[0])
            stamps.append(decisions(layer, state)[1])
        out |= {"prefill_" + key: value for key, value in bank(layer, state).items()}
        for _ in range(steps):
            _, state = layer.step(x[:, done : done + 1], state)
            done += 1
            valid.append(decisions(layer, state)[0])
            stamps.append(decisions(layer, state)[1])
        out |= {"final_" + key: value for key, value in bank(layer, state).items()}
        out["eta"] = torch.sigmoid(layer.summary_eta_logit)
    out |= recorder.tensors()
    out["valid"] = torch.stack(valid)
    out["stamps"] = torch.stack(stamps)
    out = {key: value for key, value in out.items() if value.numel() > 0}

    metadata = {
        "case": name,
        "calls": ",".join(str(n) for n in calls + [1] * steps),
        "prefill_calls": str(len(calls)),
        "block": str(block),
        "window": str(layer.window),
        "exact": str(layer.Me),
        "summary": str(layer.Ms),
        "exact_candidates": str(layer.exact_candidates_per_block),
        "summary_candidates": str(layer.summary_candidates_per_block),
        "refresh_on_hit": "on" if layer.exact_refresh_on_hit else "off",
        "overwrite_on_insert": "on" if layer.summary_overwrite_on_insert else "off",
        "arithmetic": "bf16" if dtype == torch.bfloat16 else "f32",
        "cache_bytes": str(layer.cache_bytes(batch_size=1, dtype=dtype)),
    }
    save_file(out, folder / f"landmark_{name}.safetensors", metadata=metadata)
    gates = out["gate"]
    print(f"{name}: {done} tokens, gates {gates.min():.3f}..{gates.max():.3f}, "
          f"used {out['valid'][-1].tolist()}, stamps {out.get('stamps', torch.zeros(1, 1))[-1].tolist()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    memory_banks.torch = TorchWithCudaOrder()
    for name in CASES:
        run_case(name, folder)


if __name__ == "__main__":
    main()
