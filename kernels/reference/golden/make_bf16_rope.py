"""Writes bf16_rope.txt: cosines and sines of rotary angles as PyTorch computes them in bfloat16.

Every step is a bfloat16 operation, as in a model whose inverse-frequency buffer was cast along with
its weights. Lines: base head_dim position, then head_dim/2 cosines and head_dim/2 sines as
bfloat16 bit patterns in hexadecimal.
"""

import pathlib

import torch


def bits(x):
    return [f"{v & 0xFFFF:04x}" for v in x.view(torch.int16).tolist()]


lines = []
for base in (10000.0, 1000000.0):
    for head_dim in (8, 64):
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        frequencies = (1.0 / base**exponents).to(torch.bfloat16)
        for position in (0, 1, 7, 255, 257, 1023, 4095, 31999):
            angle = torch.tensor(float(position), dtype=torch.bfloat16) * frequencies
            row = bits(angle.cos()) + bits(angle.sin())
            lines.append(" ".join([f"{base:.0f}", str(head_dim), str(position), *row]))
pathlib.Path(__file__).with_name("bf16_rope.txt").write_text("\n".join(lines) + "\n")
