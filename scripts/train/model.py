"""kvg-tiny and kvg-small: Llamas (grouped-query attention, SwiGLU, RoPE on halves, tied embedding).

The blocks are functions of their weights, so that one compiled graph serves all layers.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

EPS = 1e-5


@dataclass
class Config:
    vocab: int = 4096
    layers: int = 6
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    hidden: int = 768
    context: int = 8192
    theta: float = 1e5

    def to_dict(self):
        return asdict(self)


SHAPES = {
    "tiny": Config(),
    "small": Config(layers=14, width=512, heads=8, kv_heads=2, hidden=1536),
}


class Block(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        weight = lambda rows, columns: nn.Parameter(torch.empty(rows, columns))
        self.attention_norm = nn.Parameter(torch.ones(c.width))
        self.q = weight(c.heads * c.head_dim, c.width)
        self.k = weight(c.kv_heads * c.head_dim, c.width)
        self.v = weight(c.kv_heads * c.head_dim, c.width)
        self.o = weight(c.width, c.heads * c.head_dim)
        self.mlp_norm = nn.Parameter(torch.ones(c.width))
        self.gate = weight(c.hidden, c.width)
        self.up = weight(c.hidden, c.width)
        self.down = weight(c.width, c.hidden)

    def weights(self):
        return (
            self.attention_norm,
            self.q,
            self.k,
            self.v,
            self.o,
            self.mlp_norm,
            self.gate,
            self.up,
            self.down,
        )


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def feed_forward(x, norm, gate, up, down):
    h = F.rms_norm(x, (x.shape[-1],), norm, EPS)
    return x + F.linear(F.silu(F.linear(h, gate)) * F.linear(h, up), down)


def block_forward(x, cos, sin, head_dim, attention_norm, q, k, v, o, mlp_norm, gate, up, down):
    """x [batch, tokens, width] -> same"""
    batch, tokens, width = x.shape
    h = F.rms_norm(x, (width,), attention_norm, EPS)
    heads = lambda w: F.linear(h, w).view(batch, tokens, -1, head_dim).transpose(1, 2)
    qs, ks, vs = heads(q), heads(k), heads(v)
    qs, ks = rotate(qs, cos, sin).to(vs.dtype), rotate(ks, cos, sin).to(vs.dtype)
    group = qs.shape[1] // ks.shape[1]
    ks, vs = ks.repeat_interleave(group, 1), vs.repeat_interleave(group, 1)
    out = F.scaled_dot_product_attention(qs, ks, vs, is_causal=True)
    x = x + F.linear(out.transpose(1, 2).reshape(batch, tokens, -1), o)
    return feed_forward(x, mlp_norm, gate, up, down)


def weighted_loss(x, norm, embedding, target, weight):
    """Cross-entropy of each token times its weight, flat."""
    logits = F.linear(F.rms_norm(x, (x.shape[-1],), norm, EPS), embedding)
    loss = F.cross_entropy(
        logits.float().view(-1, logits.shape[-1]), target.reshape(-1), reduction="none"
    )
    return loss * weight.reshape(-1)


class TinyLlama(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.width))
        self._block, self._loss = block_forward, weighted_loss
        frequency = config.theta ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        angle = torch.outer(torch.arange(config.context).float(), frequency)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self._initialise()

    def _initialise(self):
        nn.init.normal_(self.embedding, 0, 0.02)
        for block in self.blocks:
            for name, p in block.named_parameters():
                if p.ndim == 2:
                    depth = (2 * self.config.layers) ** 0.5 if name in ("o", "down") else 1
                    nn.init.normal_(p, 0, 0.5 / depth * p.shape[1] ** -0.5)

    def compile(self):
        self._block = torch.compile(block_forward, dynamic=False)
        self._loss = torch.compile(weighted_loss, dynamic=False)

    def hidden(self, ids, compiled=False):
        """ids [batch, tokens] -> [batch, tokens, width] before the last norm"""
        block = self._block if compiled else block_forward
        x = F.embedding(ids, self.embedding)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for b in self.blocks:
            x = block(x, cos, sin, self.config.head_dim, *b.weights())
        return x

    def loss(self, ids, target, weight):
        return self._loss(self.hidden(ids, True), self.norm, self.embedding, target, weight)

    def logits(self, x):
        return F.linear(F.rms_norm(x, (x.shape[-1],), self.norm, EPS), self.embedding)

    def forward(self, ids):
        return self.logits(self.hidden(ids))

    def matrices(self):
        return [p for b in self.blocks for p in b.parameters() if p.ndim == 2]

    def others(self):
        matrices = set(map(id, self.matrices()))
        return [p for p in self.parameters() if id(p) not in matrices]
