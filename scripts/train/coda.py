"""A Llama whose attention is grouped-query (`gqa`) or differential (`coda`), under any retention.

CoDA, per layer and query head, with x the normalised input of the attention:

    q0 = RoPE(W_q x);  q1 = R_theta q0, on the pairs (2j, 2j+1) whatever RoPE's pairing is
    lambda = sigmoid(W_lambda x + b_lambda)
    o = softmax(q0 K / sqrt(d)) V - lambda softmax(q1 K / sqrt(d)) V      (`add`: plus)
    gate = sigmoid(W_write x + b_write), how much a token is worth to the banks

All of it runs in plain PyTorch on any device; on a GPU the attention goes through FlexAttention and
the banks through Triton. What is trained are the attention parameters, as in the published recipe:
embedding, norms and feed-forward stay those of the base model.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn as nn
import torch.nn.functional as F

import attend
import retention as retentions
from model import EPS, Config, TinyLlama, feed_forward, rotate

THETA_INIT, LAMBDA_INIT, WRITE_INIT, ETA_INIT = 0.0, -6.0, -2.0, -3.0  # as published


@dataclass(frozen=True)
class Attention:
    kind: str = "gqa"  # or "coda"
    second_map: str = "subtract"  # or "add"
    rotation: str = "learned"  # or "random": theta is drawn once and stays
    gain: str = "learned"  # or "zero": lambda is 0 and stays

    @property
    def streams(self):
        return 2 if self.kind == "coda" else 1


def turn_pairs(x, theta):
    """Interleaved pairs of x [..., heads, head_dim] turned by theta [heads, head_dim / 2]."""
    cos, sin = theta.cos(), theta.sin()
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def project(x, q_turn, k_turn, shift, norm, q, k, v, theta, lam, lam_bias, write, write_bias,
            head_dim):  # fmt: skip
    """x [batch, tokens, width] -> q [batch, kv_heads * streams * group, tokens, head_dim],
    k, v [batch, tokens, kv_heads, head_dim], lambda [batch, tokens, heads], gate [batch, tokens].

    A turn is (cos, sin) [tokens, head_dim / 2]; `shift`, or None, comes after theta.
    """
    h = F.rms_norm(x, (x.shape[-1],), norm, EPS)
    heads = lambda w: F.linear(h, w).unflatten(-1, (-1, head_dim))
    turned = lambda z, turn: rotate(z, turn[0][:, None], turn[1][:, None])
    qs, ks, vs = turned(heads(q), q_turn), turned(heads(k), k_turn), heads(v)
    streams = [qs] if theta is None else [qs, turn_pairs(qs, theta)]
    if shift is not None:
        streams = [turned(z, shift) for z in streams]
    # [batch, kv_heads, streams, group, tokens, head_dim]
    qs = torch.stack(streams, 2).unflatten(3, (ks.shape[2], -1)).permute(0, 3, 2, 4, 1, 5)
    with torch.autocast(x.device.type, enabled=False):
        small = lambda w, b: F.linear(h.float(), w, b).sigmoid()
        lam = None if lam is None else small(lam, lam_bias)
        gate = None if write is None else small(write, write_bias)[..., 0]
    return qs.flatten(1, 3).to(vs.dtype), ks.to(vs.dtype), vs, lam, gate


def finish(x, out, lam, sign, streams, kv_heads, o, norm, gate, up, down):
    """Attention's result [batch, kv_heads * streams * group, tokens, head_dim] to the next block."""
    out = out.unflatten(1, (kv_heads, streams, -1)).permute(2, 0, 4, 1, 3, 5).flatten(3, 4)
    mixed = out[0]
    if streams == 2:
        mixed = mixed - sign * lam[..., None].to(out.dtype) * out[1]
    x = x + F.linear(mixed.flatten(2), o)
    return feed_forward(x, norm, gate, up, down)


class Arm(TinyLlama):
    """A base model with the attention and the retention of one arm."""

    def __init__(self, base: TinyLlama, attention: Attention, retention: str, seed=0, context=None):
        config = replace(base.config, context=context or base.config.context)
        super().__init__(config)
        self.load_state_dict(base.state_dict())
        self.attention = attention
        self.retention = retentions.parse(retention, self.rope)
        generator = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            p.requires_grad_(False)
        for block in self.blocks:
            for name in ("q", "k", "v", "o"):
                getattr(block, name).requires_grad_(True)
            self._add_coda(block, config, generator)
            self._add_gates(block, config)
        self._project, self._finish = project, finish
        self.sign = 1 if attention.second_map == "subtract" else -1

    def _add_coda(self, block, c: Config, generator):
        block.theta = block.lam = block.lam_bias = None
        if self.attention.kind == "gqa":
            return
        uniform = lambda *shape: torch.rand(*shape, generator=generator) * 2 - 1
        theta = torch.full((c.heads, c.head_dim // 2), THETA_INIT)
        if self.attention.rotation == "random":
            theta = uniform(*theta.shape) * torch.pi
        learned = self.attention.gain == "learned"
        block.theta = nn.Parameter(theta, self.attention.rotation == "learned" and learned)
        weight = uniform(c.heads, c.width) * (c.width**-0.5 if learned else 0)
        bias = LAMBDA_INIT if learned else -100.0  # its sigmoid is 0 in every type used here
        block.lam = nn.Parameter(weight, learned)
        block.lam_bias = nn.Parameter(torch.full((c.heads,), bias), learned)

    def _add_gates(self, block, c: Config):
        block.write = block.write_bias = block.eta = None
        if not self.retention.gated:
            return
        block.write = nn.Parameter(torch.zeros(1, c.width))
        block.write_bias = nn.Parameter(torch.full((1,), WRITE_INIT))
        block.eta = nn.Parameter(torch.full((c.kv_heads,), ETA_INIT))

    def compile(self):
        super().compile()
        self._project = torch.compile(project, dynamic=False)
        self._finish = torch.compile(finish, dynamic=False)

    def rope(self, x, positions):
        """x turned by `positions`, which broadcast against x without its last dimension."""
        c = self.config
        frequency = c.theta ** (-torch.arange(0, c.head_dim, 2, device=x.device) / c.head_dim)
        angle = positions[..., None] * frequency
        return rotate(x, angle.cos(), angle.sin())

    def turns(self, tokens):
        """Of queries, of keys, and what queries are turned on by (or None)."""
        at = lambda positions: (self.cos[positions], self.sin[positions])
        keys = at(slice(tokens))
        if self.retention.query_shift is None:
            return keys, keys, None
        i = torch.arange(tokens, device=self.cos.device)
        shift = self.retention.query_shift(i)
        return at(i - shift), keys, at(shift)

    def hidden(self, ids, compiled=False, observe=None):
        """ids [batch, tokens] -> [batch, tokens, width] before the last norm.

        observe(layer, q, k, v, lambda, gate, seen) looks on. `compiled`: whole tiles of tokens.
        """
        x = F.embedding(ids, self.embedding)
        turns = self.turns(ids.shape[1])
        run = (self._project, self._finish) if compiled else (project, finish)
        for layer, b in enumerate(self.blocks):
            q, k, v, lam, gate = run[0](
                x, *turns, b.attention_norm, b.q, b.k, b.v, b.theta, b.lam, b.lam_bias, b.write,
                b.write_bias, self.config.head_dim,
            )  # fmt: skip
            seen = self.retention.visible(k, v, gate, None if b.eta is None else b.eta.sigmoid())
            if observe is not None:
                observe(layer, q, k, v, lam, gate, seen)
            kt, vt = k.transpose(1, 2), v.transpose(1, 2)
            if x.is_cuda:
                out = attend.sparse(q, kt, vt, seen, self.retention, compiled)
            else:
                out = attend.dense(q, kt, vt, seen)
            x = run[1](x, out, lam, self.sign, self.attention.streams, self.config.kv_heads,
                       b.o, b.mlp_norm, b.gate, b.up, b.down)  # fmt: skip
        return x

    def groups(self):
        """Trained parameters: matrices of the attention, weights of gates, and single numbers."""
        groups = {"matrices": [], "gates": [], "scalars": []}
        kind = dict.fromkeys(("q", "k", "v", "o"), "matrices") | {"lam": "gates", "write": "gates"}
        for block in self.blocks:
            for name, p in block.named_parameters():
                if p.requires_grad:
                    groups[kind.get(name, "scalars")].append(p)
        return groups
