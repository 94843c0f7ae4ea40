"""banks.py for a GPU: the same decisions and averages as Triton kernels.

A row of the batch is worked through token by token, as it must be; rows, heads and dimensions run
side by side. TRITON_INTERPRET=1 runs the kernels without a GPU (check_coda.py does).
"""

import os

import torch
import triton
import triton.language as tl

from banks import empty_decisions, unit


def tuned(kernel):
    """Measures how many warps serve best, once for each of the sizes."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return kernel
    configs = [triton.Config({}, num_warps=n) for n in (1, 2, 4, 8)]
    return triton.autotune(configs, key=["tokens", "SLOTS", "HEADS"])(kernel)


@tuned
@triton.jit
def _exact_kernel(
    units, gates, enter, leave, tokens, evictions, capacity,
    BLOCK: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr, HEADS: tl.constexpr,
    SINKS: tl.constexpr, CANDIDATES: tl.constexpr, TAU_GATE: tl.constexpr, TAU_NOVEL: tl.constexpr,
):  # fmt: skip
    """One row: units [tokens, WIDTH] (unit per head), gates [tokens]; capacity <= SLOTS."""
    row = tl.program_id(0).to(tl.int64) * tokens
    units += row * WIDTH
    gates += row
    enter += row
    leave += row
    m = tl.arange(0, SLOTS)
    w = tl.arange(0, WIDTH)
    t = tl.arange(0, BLOCK)
    kept = tl.zeros((SLOTS, WIDTH), tl.float32)
    token = tl.full((SLOTS,), -1, tl.int32)
    stamp = tl.full((SLOTS,), -1, tl.int32)
    for e in range(evictions):
        base = e * BLOCK
        position = base + t
        g = tl.load(gates + position)
        if base < SINKS:
            for i in tl.static_range(SINKS):
                u = tl.load(units + i * WIDTH + w)
                kept = tl.where((m == i)[:, None], u[None, :], kept)
                token = tl.where(m == i, i, token)
                stamp = tl.where(m == i, i, stamp)
                tl.store(enter + i, e)
        free = position >= SINKS
        novelty = tl.zeros((BLOCK,), tl.float32)
        equal = (g[:, None] == g[None, :]) & free[:, None] & free[None, :]
        if tl.sum(equal.to(tl.int32)) > tl.sum(free.to(tl.int32)):
            for i in range(BLOCK):
                u = tl.load(units + (base + i) * WIDTH + w)
                similar = tl.sum(kept * u[None, :], 1) / HEADS
                best = tl.max(tl.where(token >= 0, similar, -1e9), 0)
                novelty = tl.where(t == i, best, novelty)
        for _ in tl.static_range(CANDIDATES):
            top = tl.max(tl.where(free, g, -1.0), 0)
            tied = free & (g == top)
            least = tl.min(tl.where(tied, novelty, 1e9), 0)
            i = tl.min(tl.where(tied & (novelty == least), t, BLOCK), 0)
            some = i < BLOCK
            free = free & (t != i)
            at = base + tl.where(some, i, 0)
            u = tl.load(units + at * WIDTH + w)
            similar = tl.sum(kept * u[None, :], 1) / HEADS
            similar = tl.where(token >= 0, similar, -1e9)
            best = tl.max(similar, 0)
            match = tl.argmax(similar, 0)
            offered = some & (top >= TAU_GATE)
            novel = offered & (best < TAU_NOVEL)
            order = tl.where((m < SINKS) | (m >= capacity), 2147483647, stamp)
            slot = tl.where(novel, tl.argmin(order, 0), match)
            here = (m == slot) & novel
            old = tl.max(tl.where(here, token, -1), 0)
            tl.store(leave + old, e, mask=old >= 0)
            tl.store(enter + at, e, mask=novel)
            kept = tl.where(here[:, None], u[None, :], kept)
            token = tl.where(here, at, token)
            stamp = tl.where((m == slot) & offered, tl.maximum(stamp, at), stamp)


@tuned
@triton.jit
def _summary_kernel(
    keys, units, gates, eta, route, opens, tokens, evictions, capacity,
    BLOCK: tl.constexpr, SLOTS: tl.constexpr, HEADS: tl.constexpr, BAND: tl.constexpr,
    SINKS: tl.constexpr, TAU: tl.constexpr, TAU_MERGE: tl.constexpr,
):  # fmt: skip
    """One row: keys and units [tokens, HEADS, BAND] in the slow dimensions."""
    row = tl.program_id(0).to(tl.int64) * tokens
    keys += row * HEADS * BAND
    units += row * HEADS * BAND
    gates += row
    route += row
    opens += row
    m = tl.arange(0, SLOTS)
    h = tl.arange(0, HEADS)
    at = h[:, None] * BAND + tl.arange(0, BAND)[None, :]
    rate = tl.load(eta + h)
    mean = tl.zeros((SLOTS, HEADS, BAND), tl.float32)
    inverse = tl.zeros((SLOTS, HEADS), tl.float32)
    used = tl.full((), 0, tl.int32)
    next_g = tl.load(gates + SINKS)
    next_u = tl.load(units + SINKS * HEADS * BAND + at)
    next_k = tl.load(keys + SINKS * HEADS * BAND + at)
    for i in range(SINKS, evictions * BLOCK):
        g, u, k = next_g, next_u, next_k
        # Under way while this token is worked on. There are more tokens than leave the window.
        next_g = tl.load(gates + i + 1)
        next_u = tl.load(units + (i + 1) * HEADS * BAND + at)
        next_k = tl.load(keys + (i + 1) * HEADS * BAND + at)
        similar = tl.sum(tl.sum(mean * u[None, :, :], 2) * inverse, 1) / HEADS
        similar = tl.where(m < used, similar, -1e9)
        best = tl.max(similar, 0)
        match = tl.argmax(similar, 0)
        kept = g >= TAU
        first = kept & (best < TAU_MERGE) & (used < capacity)
        slot = tl.where(kept, tl.where(first, used, match), -1)
        used += tl.where(first, 1, 0)
        moved = tl.where(first, 1.0, rate * g)
        here = m == slot
        mean = tl.where(here[:, None, None], mean + moved[None, :, None] * (k[None] - mean), mean)
        norm = tl.sqrt(tl.sum(mean * mean, 2))
        inverse = tl.where(here[:, None], 1.0 / tl.maximum(norm, 1e-6), inverse)
        tl.store(route + i, slot)
        tl.store(opens + i, tl.where(first, 1, 0))


def powers_of_two(*numbers):
    assert all(n & (n - 1) == 0 for n in numbers), f"powers of two wanted: {numbers}"


@torch.no_grad()
def decide_live(k, v, gate, eta, s, evictions):
    """See banks.decide_live."""
    batch, tokens, heads, dim = k.shape
    out = empty_decisions(batch, tokens, gate.device)
    gate = gate.float().contiguous()
    assert s.sinks <= s.block, "sinks leave with the first eviction"
    if s.exact:
        powers_of_two(s.block, heads * dim)
        units = unit(v.float()).flatten(2).contiguous()
        _exact_kernel[(batch,)](
            units, gate, out.enter, out.leave, tokens, evictions, s.exact,
            s.block, triton.next_power_of_2(s.exact), heads * dim, heads, s.sinks, s.exact_candidates,
            s.tau_gate, s.tau_novel,
        )  # fmt: skip
    if s.summary:
        slow = k.float()[..., s.slow(dim, k.device)].contiguous()
        powers_of_two(heads, slow.shape[-1])
        _summary_kernel[(batch,)](
            slow, unit(slow), gate, eta.float().contiguous(), out.route, out.opens, tokens,
            evictions, s.summary, s.block, triton.next_power_of_2(s.summary), heads,
            slow.shape[-1], s.sinks, s.tau_summary, s.tau_merge,
        )  # fmt: skip
    return out


@triton.jit
def _average_kernel(
    x, route, weight, decay, snapshots, tokens, evictions, capacity,
    BLOCK: tl.constexpr, SLOTS: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr,
    PART: tl.constexpr,
):  # fmt: skip
    """PART dimensions of one head of one row."""
    b = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    d = tl.program_id(2) * PART + tl.arange(0, PART)
    m = tl.arange(0, SLOTS)
    t = tl.arange(0, BLOCK)
    there = m < capacity
    mean = tl.zeros((SLOTS, PART), tl.float32)
    decay += b * evictions * capacity * HEADS + h
    snapshots += (b * HEADS + h) * evictions * capacity * DIM
    for e in range(evictions):
        i = b * tokens + e * BLOCK + t
        slot = tl.load(route + i)
        w = tl.load(weight + i * HEADS + h)
        new = tl.load(x + (i[:, None] * HEADS + h) * DIM + d[None, :]).to(tl.float32)
        old = tl.load(decay + (e * capacity + m) * HEADS, mask=there, other=0.0)
        one_hot = (m[:, None] == slot[None, :]).to(tl.float32)
        joined = tl.dot(one_hot, new * w[:, None], input_precision="ieee")
        mean = old[:, None] * mean + joined
        at = snapshots + e * capacity * DIM + m[:, None] * DIM + d[None, :]
        tl.store(at, mean, mask=there[:, None])


@triton.jit
def _average_gradient_kernel(
    x, route, weight, decay, snapshots, grad, dx, dweight, ddecay, tokens, evictions, capacity,
    BLOCK: tl.constexpr, SLOTS: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr,
    PART: tl.constexpr,
):  # fmt: skip
    """The same backwards. dweight and ddecay have a first dimension of parts, summed outside."""
    b = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    part = tl.program_id(2).to(tl.int64)
    d = part * PART + tl.arange(0, PART)
    m = tl.arange(0, SLOTS)
    t = tl.arange(0, BLOCK)
    there = m < capacity
    g = tl.zeros((SLOTS, PART), tl.float32)
    row = (b * HEADS + h) * evictions * capacity * DIM
    dweight += part * tl.num_programs(0) * tokens * HEADS
    ddecay += (part * tl.num_programs(0) + b) * evictions * capacity * HEADS + h
    decay += b * evictions * capacity * HEADS + h
    for back in range(evictions):
        e = evictions - 1 - back
        here = row + e * capacity * DIM + m[:, None] * DIM + d[None, :]
        g += tl.load(grad + here, mask=there[:, None], other=0.0).to(tl.float32)
        i = b * tokens + e * BLOCK + t
        slot = tl.load(route + i)
        w = tl.load(weight + i * HEADS + h)
        at = (i[:, None] * HEADS + h) * DIM + d[None, :]
        new = tl.load(x + at).to(tl.float32)
        one_hot = (slot[:, None] == m[None, :]).to(tl.float32)
        mine = tl.dot(one_hot, g, input_precision="ieee")
        tl.store(dx + at, w[:, None] * mine)
        tl.store(dweight + i * HEADS + h, tl.sum(mine * new, 1))
        before = tl.load(
            snapshots + here - capacity * DIM, mask=there[:, None] & (e > 0), other=0.0
        ).to(tl.float32)
        tl.store(ddecay + (e * capacity + m) * HEADS, tl.sum(g * before, 1), mask=there)
        old = tl.load(decay + (e * capacity + m) * HEADS, mask=there, other=0.0)
        g *= old[:, None]


class Average(torch.autograd.Function):
    """banks.average; snapshots in the type of x, everything else in f32."""

    PART = 16  # dimensions a program keeps in registers

    @staticmethod
    def forward(ctx, x, route, weight, decay, block, slots, evictions):
        x, weight, decay = x.contiguous(), weight.contiguous(), decay.contiguous()
        batch, tokens, heads, dim = x.shape
        snapshots = x.new_empty(batch, heads, evictions, slots, dim)
        room = max(16, triton.next_power_of_2(slots))
        _average_kernel[(batch, heads, dim // Average.PART)](
            x, route, weight, decay, snapshots, tokens, evictions, slots,
            block, room, heads, dim, Average.PART, num_warps=1,
        )  # fmt: skip
        ctx.save_for_backward(x, route, weight, decay, snapshots)
        ctx.sizes = block, slots, evictions, room
        return snapshots

    @staticmethod
    def backward(ctx, grad):
        x, route, weight, decay, snapshots = ctx.saved_tensors
        block, slots, evictions, room = ctx.sizes
        batch, tokens, heads, dim = x.shape
        parts = dim // Average.PART
        zeros = lambda *shape: torch.zeros(*shape, device=x.device)
        dx, dweight = zeros(*x.shape), zeros(parts, *weight.shape)
        ddecay = zeros(parts, *decay.shape)
        _average_gradient_kernel[(batch, heads, parts)](
            x, route, weight, decay, snapshots, grad.contiguous(), dx, dweight, ddecay, tokens,
            evictions, slots, block, room, heads, dim, Average.PART, num_warps=1,
        )  # fmt: skip
        return dx.to(x.dtype), None, dweight.sum(0), ddecay.sum(0), None, None, None


def average(x, route, weight, decay, s, evictions):
    """See banks.average. The block must be at least 16: it is a side of matrix products."""
    return Average.apply(x, route, weight, decay, s.block, s.summary, evictions)
