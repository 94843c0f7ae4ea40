"""Writes int8.txt: vectors as PyTorch quantises them to symmetric 8-bit integers.

The scale of a vector is the smallest fp16 number s with 127 s >= max|x|; the integers are those of
quantize_per_channel with s as the channel's scale and 0 as its zero point. Lines: the head
dimension, the scale as fp16 bits and the vector as float32 bits in hexadecimal, then the integers.
"""

import pathlib
import struct

import torch


def scale_of(row):
    largest = row.abs().max().double()
    scale = (largest / 127).half()
    if scale.double() * 127 < largest:
        scale = (scale.view(torch.int16) + 1).view(torch.float16)
    return scale


torch.manual_seed(20261126)
lines = []
for head_dim in (8, 64, 128):
    for spread in (1e-3, 0.05, 1.0, 40.0):
        # Normal coordinates, a few of them outliers as keys have them.
        x = torch.randn(2, head_dim) * spread
        x[:, 3] *= 12
        for row in x:
            scale = scale_of(row)
            integers = torch.quantize_per_channel(
                row[None], scale.float()[None], torch.zeros(1, dtype=torch.int64), 0, torch.qint8
            ).int_repr()[0]
            words = [struct.pack(">f", value).hex() for value in row.tolist()]
            scale_bits = f"{scale.view(torch.int16).item() & 0xFFFF:04x}"
            numbers = [str(value) for value in integers.tolist()]
            lines.append(" ".join([str(head_dim), scale_bits, *words, *numbers]))
pathlib.Path(__file__).with_name("int8.txt").write_text("\n".join(lines) + "\n")
