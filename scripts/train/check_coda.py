"""Checks the fast ways of the banks and of the attention against their definitions.

    python3 scripts/train/check_coda.py                      # on a GPU: Triton, FlexAttention
    TRITON_INTERPRET=1 python3 scripts/train/check_coda.py   # without one: the kernels, interpreted

Random tokens with repeats, so that every rule is met; odd sizes; equal gates. Decisions must be the
same, averages and gradients equal to rounding, attention equal to bf16.
"""

import os

import torch

import attend
import banks
import banks_gpu
import retention
from banks import Settings
from coda import Arm, Attention
from model import Config, TinyLlama

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

SETTINGS = {
    "default sizes": Settings.fixed(32, 8, 16, 16),
    "odd sizes": Settings.fixed(48, 11, 13, 16),
    "whole keys": Settings.fixed(32, 8, 16, 16, "all"),
    "no summary": Settings.fixed(32, 8, 0, 16),
    "no exact bank": Settings.fixed(32, 0, 16, 16),
    "published": Settings.reference(32, 8, 16, 32),
}


def tokens(generator, batch, n, heads, dim):
    """Some tokens repeat an earlier one, or nearly."""
    x = torch.randn(batch, n, heads, dim, generator=generator)
    for i in range(4, n):
        j = int(torch.randint(max(0, i - 30), i, (1,), generator=generator))
        kind = int(torch.randint(0, 6, (1,), generator=generator))
        if kind <= 1:
            x[:, i] = x[:, j] + 0.3 * kind * torch.randn(x[:, i].shape, generator=generator)
    return x


def difference(a, b):
    return (a.double() - b.double()).norm().item() / max(b.double().norm().item(), 1e-30)


def one_by_one(x, gate, eta, d, s, evictions):
    """The averages as the rules state them, a token (or a group of tokens) at a time."""
    batch, _, heads, dim = x.shape
    rows = []
    for b in range(batch):
        mean, snapshots = [x.new_zeros(heads, dim) for _ in range(s.summary)], []
        for e in range(evictions):
            groups = {}
            for i in range(e * s.block, (e + 1) * s.block):
                if (m := int(d.route[b, i])) >= 0:
                    groups.setdefault((m, i if s.live else 0), []).append(i)
            for (m, _), group in groups.items():
                rate = eta * gate[b, group[0]] if s.live else eta
                if any(d.opens[b, i] for i in group):
                    rate = torch.ones_like(eta)
                g = gate[b, group]
                middle = (x[b, group] * g[:, None, None]).sum(0) / g.sum()
                mean[m] = mean[m] + rate[:, None] * (middle - mean[m])
            snapshots.append(torch.stack(mean, 1))
        rows.append(torch.stack(snapshots, 1))
    return torch.stack(rows)


def counts_one_by_one(gate, eta, d, s, evictions):
    """[batch, evictions, summary] tokens an average stands for, as kernels/landmark.h states it."""
    count, snapshots = torch.zeros(len(gate), s.summary, device=gate.device), []
    for i in range(evictions * s.block):
        for b in range(len(gate)):
            if (m := int(d.route[b, i])) >= 0:
                rate = 1 if d.opens[b, i] else gate[b, i] * eta.mean()
                count[b, m] = (1 - rate) * count[b, m] + 1
        if (i + 1) % s.block == 0:
            snapshots.append(count.clone())
    return torch.stack(snapshots, 1)


def check_banks(name, s, equal_gates):
    batch, n, heads, dim = 2, 170, 2, 16
    generator = torch.Generator().manual_seed(len(name))
    make = lambda: tokens(generator, batch, n, heads, dim).to(DEVICE)
    k, v = make().requires_grad_(), make().requires_grad_()
    gate = torch.rand(batch, n, generator=generator).to(DEVICE)
    if equal_gates:
        gate = (gate * 3).round() / 4 + 0.06
    gate.requires_grad_()
    eta = torch.rand(heads, generator=generator).to(DEVICE).requires_grad_()
    evictions = retention.Landmark(s).evictions(n)
    decide = banks.decide_live if s.live else banks.decide_blocks
    d = decide(k, v, gate, eta, s, evictions)
    kept = int((d.enter < banks.NEVER).sum())
    left = int((d.leave < banks.NEVER).sum())
    joined = int(((d.route >= 0) & (d.opens == 0)).sum())
    assert (kept > s.exact > 0 and left > 0) or s.exact == 0, "a test that keeps nothing"
    assert joined > 0 or s.summary == 0, "a test that averages nothing"
    if s.live:
        fast = banks_gpu.decide_live(k, v, gate, eta, s, evictions)
        for field in ("enter", "leave", "route", "opens"):
            a, b = getattr(fast, field), getattr(d, field)
            assert torch.equal(
                a, b
            ), f"{name}: {field} differs at {(a != b).nonzero().tolist()[:4]}"
    if s.summary:
        results = []
        for average in (one_by_one, banks.average, banks_gpu.average):
            if average is one_by_one:
                out = one_by_one(v, gate, eta, d, s, evictions)
            else:
                weight, decay = banks.coefficients(gate, eta, d, s, evictions)
                out = average(v, d.route, weight, decay, s, evictions)
            weight = torch.linspace(-1, 1, out.numel(), device=DEVICE).view(out.shape)
            results.append([out, *torch.autograd.grad((out * weight).sum(), (v, gate, eta))])
        for fast in results[1:]:
            for what, a, b in zip(("averages", "dv", "dgate", "deta"), fast, results[0]):
                assert difference(a, b) < 1e-5, f"{name}: {what} off by {difference(a, b):.1e}"
    if s.summary and s.count_bias:
        with torch.no_grad():
            slow = counts_one_by_one(gate, eta, d, s, evictions)
        fast = banks.log_counts(gate, eta, d, s, evictions)
        assert difference(fast.exp(), slow.clamp_min(1)) < 1e-5, f"{name}: counts are off"
    print(f"{name}{', equal gates' * equal_gates}: {kept} kept, {left} given up, {joined} averaged")


def check_attention(kind, method):
    """Gradients of a whole model in f32: FlexAttention against dense, on the GPU."""
    torch.manual_seed(1)
    config = Config(vocab=64, layers=2, width=64, heads=4, kv_heads=2, head_dim=32, hidden=96)
    arm = Arm(TinyLlama(config), Attention(kind), method).to(DEVICE)
    with torch.no_grad():
        for block in arm.blocks:
            for p in (block.q, block.k):
                p.mul_(4)
            if kind == "coda":
                block.theta.uniform_(-2, 2)
                block.lam_bias.fill_(-0.5)
            if block.write is not None:
                block.write.normal_(0, 1)
    ids = torch.randint(0, 64, (2, 512), device=DEVICE)
    results = []
    for compiled in (False, True):
        sparse = attend.sparse
        if not compiled:
            attend.sparse = lambda q, k, v, seen, *_: attend.dense(q, k, v, seen)
        loss = arm.logits(arm.hidden(ids, compiled)).logsumexp(-1).square().mean()
        attend.sparse = sparse
        trained = [p for group in arm.groups().values() for p in group]
        results.append(torch.autograd.grad(loss, trained, allow_unused=True))
    worst = max(difference(a, b) for a, b in zip(*results) if b is not None)
    assert worst < 2e-2, f"{kind} {method}: gradients off by {worst:.1e}"
    print(f"{kind} {method}: largest difference of a gradient {worst:.1e}")


def main():
    for name, s in SETTINGS.items():
        for equal_gates in (False, True):
            check_banks(name, s, equal_gates)
    if DEVICE != "cuda":
        print("no GPU: the attention was not checked")
        return
    for kind in ("gqa", "coda"):
        for method in ("full", "window(window=70)", "sinks(sinks=4,window=70)",
                       "landmark(window=64,exact=16,summary=16)",
                       "landmark(window=64,exact=16,summary=16,count_bias=off)",
                       "landmark(window=64,exact=24,summary=0)"):  # fmt: skip
            check_attention(kind, method)


if __name__ == "__main__":
    assert DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1", __doc__
    main()
