"""Rotary angles in bf16: what casting a layer does, and what that does to logits.

    python scripts/audit/rope_bf16.py

The package computes positions and angles in the type of a buffer, and .to(torch.bfloat16), which
is how a layer is moved to bf16, converts that buffer too. First whether that is so in the
installed version. Then, for random queries and keys less than 256 tokens apart, the correlation of
logits with such angles and of logits with exact ones, for layers that are half-split as Mistral's.
"""

import coda
import common
import torch
from coda_gqa_l.primitives import RotaryEmbedding, apply_rope
from geometry import BANKS, LAYERS

HEAD_DIM = 128
PAIRS = 4096
POSITIONS = (256, 1024, 2048, 4096, 8192)


def rotated(x, rope, offset, dtype):
    """x: [tokens, head_dim] at positions offset...; rotated in fp32 by the layer's own table."""
    cos, sin = rope(seq_len=x.size(0), offset=offset, device=x.device, dtype=dtype)
    return apply_rope(x[None, None], cos.float(), sin.float(), interleaved=False)[0, 0]


def correlation(base, position):
    """Of logits of one query at `position` and keys at the 255 positions before it."""
    torch.manual_seed(position)
    exact, cast = RotaryEmbedding(HEAD_DIM, base).double(), RotaryEmbedding(HEAD_DIM, base)
    cast = cast.to(torch.bfloat16)
    logits = {"exact": [], "cast": []}
    for _ in range(PAIRS // 256):
        x = torch.randn(256, HEAD_DIM)
        query = torch.randn(1, HEAD_DIM)
        for name, rope, dtype in (("exact", exact, torch.float64), ("cast", cast, torch.bfloat16)):
            keys = rotated(x, rope, position - 255, dtype)
            logits[name].append(keys @ rotated(query, rope, position, dtype)[0])
    pair = torch.stack([torch.cat(logits["exact"]), torch.cat(logits["cast"])])
    return float(torch.corrcoef(pair)[0, 1])


def distinct(position):
    """Positions that bf16 tells apart among the 256 tokens up to this one."""
    return torch.arange(position - 255, position + 1).to(torch.bfloat16).unique().numel()


def main():
    args = common.parser(__doc__).parse_args()
    layer = coda.bounded(LAYERS["test"], BANKS["tiny"])
    before = layer.rope.inv_freq.dtype
    layer.to(torch.bfloat16)
    values = {"buffer_fp32_before_cast": before == torch.float32,
              "buffer_bf16_after_cast": layer.rope.inv_freq.dtype == torch.bfloat16}
    rows = []
    for position in POSITIONS:
        row = [f"{position:,}"]
        for base in (1e4, 1e6):
            found = correlation(base, position)
            values[f"correlation.{base:.0f}.{position}"] = found
            row.append(f"{found:.3f}")
        values[f"distinct.{position}"] = distinct(position)
        rows.append([*row, values[f"distinct.{position}"]])
    print(f"RoPE buffer after .to(bfloat16): {layer.rope.inv_freq.dtype}\n")
    common.table(["position", "correlation, base 1e4", "base 1e6",
                  "distinct among the last 256 positions"], rows)
    common.write(args.json, values, **coda.versions())


main()
