"""Layers of the published package, as its examples and benchmarks make them."""

import importlib.metadata
import pathlib
import sys
import warnings

import coda_gqa_l.memory_banks as memory_banks
import torch
from coda_gqa_l import BaselineGQA, CoDAGQA, CoDAGQALandmarkPerf2, apply_rope

# The package warns that two of its classes have different defaults; both are used on purpose here.
warnings.filterwarnings("ignore", module="coda_gqa_l")
torch.set_num_threads(1)  # the layers are small; more threads wait for each other


def bounded(layer, banks, **settings):
    return CoDAGQALandmarkPerf2(
        embed_dim=layer.embed, num_heads=layer.heads, num_kv_heads=layer.kv_heads,
        window=banks.window, num_landmarks_exact=banks.exact, num_landmarks_summary=banks.summary,
        **settings).eval()


def unbounded(layer, **settings):
    return CoDAGQA(embed_dim=layer.embed, num_heads=layer.heads, num_kv_heads=layer.kv_heads,
                   **settings).eval()


def plain(layer):
    return BaselineGQA(embed_dim=layer.embed, num_heads=layer.heads,
                       num_kv_heads=layer.kv_heads).eval()


def keys_values_gates(module, x):
    """What a prefill of x writes into the banks. They depend on no output of attention."""
    k, v = module._project_kv_raw(x)
    cos, sin = module.rope(seq_len=x.size(1), offset=0, device=x.device, dtype=x.dtype)
    return apply_rope(k, cos, sin, interleaved=module.rope_interleaved), v, module._write_gate(x)


def absorb(module, state, k, v, g, block):
    """Writes block by block, as prefill does after attention; block 1 is the decode path."""
    for start in range(0, k.size(2), block):
        part = slice(start, start + block)
        if block == 1:
            module._write_one(state, k_new=k[:, :, part], v_new=v[:, :, part], g_new=g[:, part])
        else:
            module._write_block_fast(state, k_blk=k[:, :, part], v_blk=v[:, :, part],
                                     g_blk=g[:, part], pos0=start)


def fresh(module, dtype=torch.float32, device="cpu", **settings):
    return module.init_state(batch_size=1, device=torch.device(device), dtype=dtype, **settings)


def versions():
    """For the JSON files: what the numbers were computed with."""
    return {"torch": torch.__version__, "coda-gqa-l": importlib.metadata.version("coda-gqa-l")}


def no_summary_kernel():
    """Routes summary updates through PyTorch: version 1.3.1 cannot call its own kernel."""
    memory_banks._HAS_TRITON_SUMMARY = False


class SortedTopK:
    """The torch module with a topk that gives the largest first, whatever it was asked for."""

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def topk(x, k, dim, largest, sorted):
        values, order = torch.sort(x, dim=dim, descending=largest, stable=True)
        return values[:, :k], order[:, :k]


def candidate_order(name):
    """In which order the package sees a block's candidates: "cpu", "gpu", "cuda" or "sorted".

    topk(sorted=False) leaves it open, and the package gives the first eight of its results to the
    exact bank. "cpu" and "gpu" are what topk yields there, "cuda" is, on the CPU, what CUDA's is
    expected to (index order), "sorted" the largest gates first, as the texts describe it.
    """
    golden = pathlib.Path(__file__).resolve().parent.parent / "golden"
    if str(golden) not in sys.path:
        sys.path.insert(0, str(golden))
    from coda_landmark import TorchWithCudaOrder

    orders = {"cpu": lambda: torch, "gpu": lambda: torch, "cuda": TorchWithCudaOrder,
              "sorted": SortedTopK}
    memory_banks.torch = orders[name]()
