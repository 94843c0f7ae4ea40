"""Softmax attention over what `Visible` names: densely, and by FlexAttention on a GPU.

Queries come as [batch, kv_heads * streams * group, tokens, head_dim], those of one KV head side by
side.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

TILE = 128
NEVER = 2**15 - 1  # of a packed snapshot number


def dense(q, k, v, seen):
    """The definition. k and v [batch, kv_heads, tokens, head_dim]."""
    tokens, dim = k.shape[2:]
    i = torch.arange(tokens, device=q.device)
    n, start = seen.n[:, None], seen.start[:, None]
    kept = (seen.enter[:, None] < n) & (n <= seen.leave[:, None])
    mask = (i <= i[:, None]) & ((i >= start) | kept)
    if seen.extra_k is not None:
        k = torch.cat([k, seen.extra_k.flatten(2, 3)], 2)
        v = torch.cat([v, seen.extra_v.flatten(2, 3)], 2)
        snapshots = torch.arange(1, seen.extra_k.shape[2] + 1, device=q.device)
        there = (snapshots == n)[None, ..., None] & (seen.first[:, None, None] < snapshots[:, None])
        mask = torch.cat([mask, there.flatten(2)], 2)
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    logits = q @ k.mT * dim**-0.5
    if seen.extra_bias is not None:
        logits = logits + F.pad(seen.extra_bias.flatten(1), (tokens, 0))[:, None, None]
    return logits.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ v


class Plan:
    """Which tiles of keys a tile of queries may meet; the same for every row and layer.

    Keys are the tokens of the row, then the tokens that an exact bank ever kept, then the extra keys
    of all snapshots; each part is filled up to whole tiles.
    """

    def __init__(self, retention, tokens, device):
        start, n = (x.numpy() for x in retention.reach(tokens))
        extra, snapshots = retention.extra, int(n[-1])
        kept_before = retention.kept_before or (lambda n: 0)
        up = lambda x: -(-x // TILE) * TILE
        assert tokens % TILE == 0, f"rows of whole tiles of {TILE}"
        self.kept, self.extra = up(min(kept_before(snapshots), tokens)), up(extra * snapshots)
        tiles = []
        for first in range(0, tokens, TILE):
            last = first + TILE - 1
            own = set(range(start[first] // TILE, first // TILE + 1))
            if extra and not self.kept:
                own.add(0)  # sinks, before they shift
            own |= {(tokens + x) // TILE for x in range(0, min(kept_before(n[last]), tokens), TILE)}
            if extra and n[last] > 0:
                begin, end = (max(1, n[first]) - 1) * extra, n[last] * extra
                base = (tokens + self.kept) // TILE
                own |= {base + x for x in range(begin // TILE, (end - 1) // TILE + 1)}
            tiles.append(sorted(own))
        self.keys = tokens + self.kept + self.extra
        columns = self.keys // TILE
        counts = np.array([len(t) for t in tiles], np.int32)
        table = np.zeros((len(tiles), columns), np.int32)
        for row, own in zip(table, tiles):
            row[: len(own)] = own
            row[len(own) :] = sorted(set(range(columns)) - set(own))
        place = lambda x: torch.from_numpy(x)[None, None].to(device)
        blocks = BlockMask.from_kv_blocks(
            place(counts), place(table), BLOCK_SIZE=TILE, seq_lengths=(tokens, self.keys)
        )
        self.tables = (
            blocks.kv_num_blocks,
            blocks.kv_indices,
            blocks.q_num_blocks,
            blocks.q_indices,
        )


def _fill(x, dim, size, value=0):
    """x with `dim` filled up to `size`."""
    pad = [0, 0] * (x.ndim - 1 - dim) + [0, size - x.shape[dim]]
    return F.pad(x, pad, value=value)


def _packed(enter, leave):
    return (enter.clamp_max(NEVER) << 16) | leave.clamp_max(NEVER)


def gathered(k, v, seen, plan):
    """Keys and values of all parts; for each key the snapshots that have it: those after
    code >> 16, up to code & 0xffff (in a row's own tokens the window comes on top); and what is
    added to its logits, or None."""
    bias, ks, vs, codes = None, [k], [v], [torch.full_like(seen.enter, NEVER << 16)]
    if plan.kept:
        at = seen.kept
        rows = at[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
        ks.append(_fill(k.gather(2, rows), 2, plan.kept))
        vs.append(_fill(v.gather(2, rows), 2, plan.kept))
        code = _packed(seen.enter, seen.leave).gather(1, at)
        codes.append(_fill(code, 1, plan.kept, NEVER << 16))
    else:
        codes[0] = _packed(seen.enter, seen.leave)
    if plan.extra:
        ks.append(_fill(seen.extra_k.flatten(2, 3).to(k.dtype), 2, plan.extra))
        vs.append(_fill(seen.extra_v.flatten(2, 3).to(v.dtype), 2, plan.extra))
        s = torch.arange(1, seen.extra_k.shape[2] + 1, device=k.device, dtype=torch.int32)[:, None]
        code = torch.where(seen.first[:, None] < s, _packed(s - 1, s), NEVER << 16)
        codes.append(_fill(code.flatten(1), 1, plan.extra, NEVER << 16))
        if seen.extra_bias is not None:
            own = k.shape[2] + plan.kept
            bias = _fill(F.pad(seen.extra_bias.flatten(1), (own, 0)), 1, own + plan.extra)
    return torch.cat(ks, 2), torch.cat(vs, 2), torch.cat(codes, 1).int().contiguous(), bias


def _flex(q, k, v, start, n, code, bias, tables, tokens):
    def mask(b, h, i, j):
        there = code[b, j]
        snapshot = n[i]
        window = (j >= start[i]) & (j <= i)
        return window | (((there >> 16) < snapshot) & (snapshot <= (there & 0xFFFF)))

    def sinks_mask(b, h, i, j):
        return mask(b, h, i, j) & ((j <= i) | (j >= tokens))

    def biased(score, b, h, i, j):
        return score + bias[b, j]

    counts, table, q_counts, q_table = tables
    blocks = BlockMask(
        (q.shape[2], k.shape[2]), counts, table, None, None, q_counts, q_table, None, None,
        (TILE, TILE), sinks_mask if tokens else mask,
    )  # fmt: skip
    return flex_attention(
        q, k, v, score_mod=None if bias is None else biased, block_mask=blocks,
        enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip


@functools.cache
def _compiled():
    return torch.compile(_flex, dynamic=False)


@functools.cache
def _plan(retention, tokens, device):
    return Plan(retention, tokens, device)


def sparse(q, k, v, seen, retention, compiled=True):
    """The same by tiles. Rows of whole tiles."""
    if retention.method() == "full":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    tokens = k.shape[2]
    plan = _plan(retention, tokens, k.device)
    k, v, code, bias = gathered(k, v, seen, plan)
    run = _compiled() if compiled else _flex
    # A row's own tokens carry codes where nothing is kept apart: then the future is masked, too.
    own = 0 if plan.kept or not plan.extra else tokens
    return run(q, k, v, seen.start, seen.n, code, bias, plan.tables, own)
