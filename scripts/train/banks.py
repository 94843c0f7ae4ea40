"""The landmark banks of CoDA-GQA-L: which tokens they keep, and what their averages hold.

Two things are kept apart, because only one of them has a gradient:

* decisions: which token sits in which exact slot and when, which average a token joins. Hard
  choices, made from keys, values and gates without a gradient (`decide_live`, `decide_blocks`); and
  how many tokens an average stands for (`log_counts`), which is added to its logits;
* averages: a running mean m += rate (x - m) of the tokens that joined, differentiable in the
  tokens, the gates and the learned rates (`average`).

Tokens leave the window `block` at a time; eviction e takes tokens [e block, (e+1) block). Snapshot
e + 1 is what the banks hold after it; snapshot 0 is empty. What follows here is the definition, in
plain PyTorch; banks_gpu.py has the same for a GPU. kvgauge's kernels/landmark.h describes the rules.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

NEVER = 2**30


@dataclass(frozen=True)
class Settings:
    """Arguments of kvgauge's `landmark`, with the defaults of its two semantics filled in."""

    semantics: str = "fixed"
    window: int = 128
    exact: int = 64
    summary: int = 64
    block: int = 16
    sinks: int = 4
    exact_candidates: int = 2
    summary_candidates: int = NEVER
    band: str = "pairs"
    count_bias: bool = False
    tau_gate: float = 0.10
    tau_novel: float = 0.70
    tau_summary: float = 0.05
    tau_merge: float = 0.90

    @staticmethod
    def default_block(window):
        return min(16, 1 << (max(1, window // 4).bit_length() - 1))

    @staticmethod
    def fixed(window=128, exact=64, summary=64, block=0, band="pairs", count_bias=True):
        block = block or Settings.default_block(window)
        assert window % block == 0, "training wants a window of whole blocks"
        return Settings(
            "fixed", window, exact, summary, block, min(4, exact), -(-block // 8), NEVER, band,
            count_bias,
        )  # fmt: skip

    @staticmethod
    def reference(window=128, exact=64, summary=64, block=256):
        assert window % block == 0, "training wants a window of whole blocks"
        return Settings("reference", window, exact, summary, block, 0, 8, 64, "dims")

    @property
    def live(self):
        return self.semantics == "fixed"

    @property
    def lag(self):
        """A query in block b reads snapshot max(0, b - lag)."""
        return self.window // self.block - (1 if self.live else 0)

    def slow(self, head_dim, device=None):
        """[head_dim] bool: the dimensions that summary keys keep (halves are RoPE's pairs)."""
        d = torch.arange(head_dim, device=device)
        if self.band == "all":
            return d >= 0
        return d % (head_dim // 2) >= head_dim // 4 if self.band == "pairs" else d >= head_dim // 2

    def method(self):
        text = f"landmark(window={self.window},exact={self.exact},summary={self.summary}"
        if not self.live:
            text += f",semantics=reference,block={self.block},arithmetic=f32,mem_init=zeros"
        elif self.block != self.default_block(self.window):
            text += f",block={self.block}"
        if self.live and self.band != "pairs":
            text += f",lf_band={self.band}"
        if self.live and not self.count_bias:
            text += ",count_bias=off"
        return text + ")"


@dataclass
class Decisions:
    """All int32. Token i is in the exact bank of snapshots (enter, leave]; NEVER: not, or still."""

    enter: torch.Tensor  # [batch, tokens]
    leave: torch.Tensor  # [batch, tokens]
    route: torch.Tensor  # [batch, tokens] average that the token joins, -1: none
    opens: torch.Tensor  # [batch, tokens] 1: it is the first of that average


def unit(x):
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def empty_decisions(batch, tokens, device):
    full = lambda value: torch.full((batch, tokens), value, dtype=torch.int32, device=device)
    return Decisions(full(NEVER), full(NEVER), full(-1), full(0))


@torch.no_grad()
def decide_live(k, v, gate, eta, s, evictions):
    """`fixed`: every token meets the banks as the one before it left them.

    k (after RoPE), v [batch, tokens, kv_heads, head_dim], gate [batch, tokens], eta [kv_heads]
    """
    out = empty_decisions(*gate.shape, gate.device)
    for b in range(len(gate)):
        if s.exact:
            _exact_live(unit(v[b].float()), gate[b], s, evictions, out.enter[b], out.leave[b])
        if s.summary:
            _summary_live(k[b].float(), gate[b], eta, s, evictions, out.route[b], out.opens[b])
    return out


def _exact_live(units, gate, s, evictions, enter, leave):
    kept = torch.zeros(s.exact, *units.shape[1:], device=units.device)
    token, stamp = [-1] * s.exact, [-1] * s.exact

    def scores(i):
        similar = torch.einsum("mhd,hd->m", kept, units[i]) / units.shape[1]
        return [x if token[m] >= 0 else -1e9 for m, x in enumerate(similar.tolist())]

    def write(slot, i, e):
        if token[slot] >= 0:
            leave[token[slot]] = e
        kept[slot], token[slot], stamp[slot], enter[i] = units[i], i, i, e

    g = gate.tolist()
    for e in range(evictions):
        leaving = range(e * s.block, (e + 1) * s.block)
        for i in leaving:
            if i < s.sinks:
                write(i, i, e)
        offered = [i for i in leaving if i >= s.sinks]
        ties = len({g[i] for i in offered}) < len(offered)
        novelty = {i: max(scores(i)) if ties else 0 for i in offered}
        offered.sort(key=lambda i: (-g[i], novelty[i], i))
        for i in offered[: s.exact_candidates]:
            if g[i] < s.tau_gate:
                continue
            similar = scores(i)
            best = max(range(s.exact), key=lambda m: similar[m])
            if token[best] < 0 or similar[best] < s.tau_novel:
                write(min(range(s.sinks, s.exact), key=lambda m: (stamp[m], m)), i, e)
            else:
                stamp[best] = max(stamp[best], i)


def _summary_live(k, gate, eta, s, evictions, route, opens):
    slow = s.slow(k.shape[-1], k.device)
    k, used = k[..., slow], 0
    mean = torch.zeros(s.summary, *k.shape[1:], device=k.device)
    for i in range(s.sinks, evictions * s.block):
        if gate[i] < s.tau_summary:
            continue
        slot, join = 0, False
        if used:
            similar = torch.einsum("mhd,hd->m", unit(mean[:used]), unit(k[i])) / k.shape[1]
            slot = int(similar.argmax())
            join = similar[slot] >= s.tau_merge
        if not join and used < s.summary:
            slot, used = used, used + 1
            opens[i] = 1
        rate = torch.ones_like(eta) if opens[i] else eta * gate[i]
        mean[slot] += rate[:, None] * (k[i] - mean[slot])
        route[i] = slot


@torch.no_grad()
def decide_blocks(k, v, gate, eta, s, evictions):
    """`reference`: all tokens of an eviction meet the banks as they were before it, the published
    PyTorch rule with its order of candidates. Same arguments; vectorised over the batch."""
    batch, tokens = gate.shape
    heads, device = k.shape[2], gate.device
    out = empty_decisions(batch, tokens, device)
    rows = torch.arange(batch, device=device)[:, None]
    slow = s.slow(k.shape[-1], device)
    k, units = k.float()[..., slow], unit(v.float())
    scale = (v.shape[-1] / k.shape[-1]) ** 0.5
    exact = torch.zeros(batch, s.exact, *v.shape[2:], device=device)
    token = torch.full((batch, s.exact), -1, dtype=torch.int64, device=device)
    stamp = torch.full((batch, s.exact), -1, dtype=torch.int64, device=device)
    mean = torch.zeros(batch, s.summary, *k.shape[2:], device=device)
    used = torch.zeros(batch, s.summary, dtype=torch.bool, device=device)
    for e in range(evictions):
        g = gate[:, e * s.block : (e + 1) * s.block]
        wanted = min(s.block, max(s.exact_candidates, s.summary_candidates if s.summary else 0))
        # torch.topk(sorted=False) on CUDA: the tokens above the k-th gate in the order of their
        # positions, then those equal to it.
        best = torch.sort(g, dim=1, descending=True, stable=True)[1][:, :wanted]
        tied = g.gather(1, best) == g.gather(1, best[:, -1:])
        key = tied.long() * s.block + best
        best = best.gather(1, key.argsort(dim=1)) + e * s.block
        if s.exact:
            some = best[:, : s.exact_candidates]
            _exact_block(units[rows, some], gate[rows, some], some, e, s, exact, token, stamp, out)
        if s.summary:
            g = gate[rows, best]
            kept = g >= s.tau_summary
            similar = torch.einsum("bmhd,bthd->btm", unit(mean), unit(k[rows, best])) / heads
            slot = similar.argmax(-1)
            out.route.scatter_(1, best, torch.where(kept, slot, -1).int())
            one_hot = F.one_hot(slot, s.summary) * (g * kept)[..., None]
            weight = one_hot.sum(1)  # [batch, slots]
            means = torch.einsum("btm,bthd->bmhd", one_hot, k[rows, best])
            means = means / weight.clamp_min(1e-6)[..., None, None]
            rate = torch.where(used[..., None], eta, torch.ones_like(eta))[..., None]
            moved = mean + rate * (scale * means - mean)
            first = kept & ~used.gather(1, slot)
            out.opens.scatter_(1, best, first.int())
            mean = torch.where((weight > 0)[..., None, None], moved, mean)
            used = used | (weight > 0)
    return out


def _exact_block(units, g, at, e, s, exact, token, stamp, out):
    """units [batch, candidates, kv_heads, head_dim] of the tokens `at`; the banks in place. Slot
    and token numbers one too high take what is not to be written."""
    any_used = (token >= 0).any(1)
    similar = torch.einsum("bmhd,bthd->btm", exact, units) / units.shape[2]
    similar = similar.masked_fill((token < 0)[:, None], -1e9)
    best, match = similar.max(-1)
    kept = g >= s.tau_gate
    novel = kept & (~any_used[:, None] | (best < s.tau_novel))
    order = torch.sort(torch.where(token >= 0, stamp, -1), dim=1, stable=True)[1]
    rank = novel.long().cumsum(1) - 1
    novel &= rank < s.exact
    slot = torch.where(novel, order.gather(1, rank.clamp(0, s.exact - 1)), match)
    spare = lambda x: F.pad(x, (0, 1), value=-1)
    touched = spare(torch.full_like(stamp, -1))
    touched.scatter_reduce_(1, torch.where(kept, slot, s.exact), at, "amax")
    touched = touched[:, :-1]
    to = torch.where(novel, slot, s.exact)
    old = spare(token).gather(1, to)
    mark = lambda x, where: spare(x).scatter(1, where, e)[:, :-1]
    nowhere = out.leave.shape[1]
    out.leave = mark(out.leave, torch.where(novel & (old >= 0), old, nowhere))
    out.enter = mark(out.enter, torch.where(novel, at, nowhere))
    token.copy_(spare(token).scatter(1, to, at)[:, :-1])
    padded = F.pad(exact, (0, 0, 0, 0, 0, 1))
    exact.copy_(padded.scatter(1, to[..., None, None].expand(units.shape), units)[:, :-1])
    stamp.copy_(torch.where(touched >= 0, touched, stamp))


def by_eviction(gate, d, s, evictions):
    """Gates and `opens` [batch, evictions, block], and which average each of these tokens joins,
    one-hot [batch, evictions, block, summary]."""
    blocks = lambda x: x[:, : evictions * s.block].unflatten(1, (evictions, s.block))
    one_hot = blocks(d.route)[..., None] == torch.arange(s.summary, device=gate.device)
    return blocks(gate.float()), blocks(d.opens).bool(), one_hot.float()


def coefficients(gate, eta, d, s, evictions):
    """What an eviction does to the averages, as a linear map: with m before it and tokens x,

        m'[slot] = decay[slot] m[slot] + sum of weight[i] x[i] over tokens i that join the slot

    weight [batch, tokens, kv_heads], decay [batch, evictions, summary, kv_heads]. `fixed`: tokens
    join one after another, each moving the average by eta * gate (by 1 the first). `reference`: once
    and together, by eta (1 the first time) towards their gate-weighted mean.
    """
    g, opens, one_hot = by_eviction(gate, d, s, evictions)
    same = one_hot @ one_hot.mT  # [batch, evictions, block, block]
    if s.live:
        rate = torch.where(opens[..., None], torch.ones_like(eta), g[..., None] * eta)
        # Nothing is in an average before its first token, so that one's factor 1 - 1 never counts.
        factor = torch.log1p(-torch.where(opens[..., None], 0, rate))
        later = torch.triu(same, 1)
        weight, decay = rate * (later @ factor).exp(), (one_hot.mT @ factor).exp()
    else:
        opened = (same * opens[..., None, :]).amax(-1, keepdim=True) > 0
        rate = torch.where(opened, torch.ones_like(eta), eta)
        total = (same @ g[..., None]).clamp_min(1e-6)
        weight = rate * g[..., None] / total
        weight = weight * one_hot.sum(-1, keepdim=True)  # 0 for tokens that join none
        decay = 1 - one_hot.mT @ weight
    left = gate.shape[1] - evictions * s.block
    return F.pad(weight.flatten(1, 2), (0, 0, 0, left)), decay


def average(x, route, weight, decay, s, evictions):
    """Snapshots of the averages: [batch, kv_heads, evictions, summary, head_dim], the one after
    eviction e at index e. x [batch, tokens, kv_heads, head_dim]."""
    batch, _, heads, dim = x.shape
    mean = x.new_zeros(batch, s.summary, heads, dim)
    snapshots = []
    for e in range(evictions):
        leaving = slice(e * s.block, (e + 1) * s.block)
        one_hot = (route[:, leaving, None] == torch.arange(s.summary, device=x.device)).to(x.dtype)
        joined = torch.einsum(
            "btm,bth,bthd->bmhd", one_hot, weight[:, leaving].to(x.dtype), x[:, leaving]
        )
        mean = decay[:, e].to(x.dtype)[..., None] * mean + joined
        snapshots.append(mean)
    return torch.stack(snapshots, 1).permute(0, 3, 1, 2, 4)


@torch.no_grad()
def log_counts(gate, eta, d, s, evictions):
    """`fixed`: [batch, evictions, summary] log of how many tokens an average stands for. A token
    that joins at rate r (mean over KV heads) makes n tokens (1 - r) n + 1, the first one 1."""
    g, opens, one_hot = by_eviction(gate, d, s, evictions)
    factor = torch.log1p(-torch.where(opens, 0, g * eta.float().mean()))[..., None]
    later = torch.triu(one_hot @ one_hot.mT, 1)
    kept = (one_hot.mT @ factor).exp()[..., 0]
    count = (one_hot.mT @ (later @ factor).exp())[..., 0]
    # count[e] += kept[e] count[e - 1] for all e in turn, as a scan.
    step = 1
    while step < evictions:
        before = lambda x, value: F.pad(x, (0, 0, step, 0), value=value)[:, :-step]
        count, kept = count + kept * before(count, 0), kept * before(kept, 1)
        step *= 2
    return count.clamp_min(1).log()


def kept_tokens(d, s, evictions):
    """[batch, n] positions of all tokens that were ever in the exact bank, in the order in which
    they came; places left over name tokens that never were. Entry r came with eviction
    (r - sinks) / exact_candidates or later."""
    n = min(evictions * s.block, s.sinks + evictions * s.exact_candidates)
    return torch.argsort(d.enter, dim=1, stable=True)[:, :n]


def first_open(d, s, evictions):
    """[batch, summary] int32: eviction at which an average opens, NEVER: it does not."""
    n = evictions * s.block
    first = torch.full(
        (len(d.route), s.summary + 1), NEVER, dtype=torch.int32, device=d.route.device
    )
    route = torch.where(d.route[:, :n] >= 0, d.route[:, :n], s.summary).long()
    e = (torch.arange(n, device=first.device, dtype=torch.int32) // s.block).expand(len(route), n)
    return first.scatter_reduce(1, route, e.contiguous(), "amin")[:, : s.summary].contiguous()
