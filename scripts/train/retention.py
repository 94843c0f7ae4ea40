"""What each query of a row may read: the retentions that arms are trained under.

A retention turns the keys, values and gates of a row into `Visible`. Query i stands in snapshot
n[i] of the banks and reads

* token t <= i, if t >= start[i] or enter[t] < n[i] <= leave[t];
* extra key m of snapshot n[i] (numbered from 1), if first[m] < n[i]; extra_bias is added to its
  logit.

So an exact bank costs no copies: a kept token is the token itself, and gradients reach it.
"""

from dataclasses import dataclass

import torch

import banks
from banks import NEVER, Settings

try:  # Triton comes with torch where there is a GPU
    import banks_gpu
except ImportError:
    banks_gpu = None


@dataclass
class Visible:
    start: torch.Tensor  # [tokens] int32
    n: torch.Tensor  # [tokens] int32
    enter: torch.Tensor  # [batch, tokens] int32
    leave: torch.Tensor  # [batch, tokens] int32
    first: torch.Tensor  # [batch, extra] int32
    extra_k: torch.Tensor | None = None  # [batch, kv_heads, snapshots, extra, head_dim]
    extra_v: torch.Tensor | None = None
    extra_bias: torch.Tensor | None = None  # [batch, snapshots, extra]
    decisions: banks.Decisions | None = None  # of landmark banks
    kept: torch.Tensor | None = None  # [batch, n] banks.kept_tokens


def ints(values):
    return values.to(torch.int32)


def nothing_kept(start, n, batch):
    never = torch.full((batch, len(start)), NEVER, dtype=torch.int32, device=start.device)
    return Visible(start, n, never, never, never[:, :0])


class Full:
    """Every token."""

    def method(self):
        return "full"

    def reach(self, tokens):
        """(first token in the window, snapshot) for each query; host tensors."""
        zeros = torch.zeros(tokens, dtype=torch.int32)
        return zeros, zeros

    extra = 0  # extra keys of a snapshot
    kept_before = None
    gated = False  # has write gates and learned rates
    query_shift = None  # how far the recent keys' frame is from the stream's, by position

    def on(self, tokens, device):
        """reach() on a device, copied there once."""
        cache = self.__dict__.setdefault("_reach", {})
        if (tokens, device) not in cache:
            cache[tokens, device] = tuple(x.to(device) for x in self.reach(tokens))
        return cache[tokens, device]

    def visible(self, k, v, gate, eta):
        return nothing_kept(*self.on(k.shape[1], k.device), len(k))


class Window(Full):
    """The most recent `window` tokens, the current one included."""

    def __init__(self, window):
        self.window = window

    def method(self):
        return f"window(window={self.window})"

    def reach(self, tokens):
        i = torch.arange(tokens)
        return ints((i - self.window + 1).clamp_min(0)), ints(torch.zeros_like(i))


class Sinks(Full):
    """StreamingLLM: the first `sinks` tokens and the recent ones, positions inside the cache.

    The cache ends at position sinks + window - 1. From there on a query stands at that position for
    the sinks, and recent keys at the distances they have in the stream. As attention has one query
    for all keys, the query is turned on by the difference, and so are the sinks, for each query.
    """

    extra = property(lambda self: self.sinks)

    def __init__(self, sinks, window, rope):
        self.sinks, self.window, self.rope = sinks, window, rope

    def method(self):
        return f"sinks(sinks={self.sinks},window={self.window})"

    def query_shift(self, positions):
        return (positions - (self.sinks + self.window - 1)).clamp_min(0)

    def reach(self, tokens):
        i = torch.arange(tokens)
        return ints((i - self.window + 1).clamp_min(0)), ints(self.query_shift(i))

    def visible(self, k, v, gate, eta):
        start, n = self.on(k.shape[1], k.device)
        seen = nothing_kept(start, n, len(k))
        first = torch.arange(k.shape[1], device=k.device) < self.sinks
        seen.enter = torch.where(first, -1, seen.enter).int()  # read as they are until they shift
        seen.leave = torch.where(first, 0, seen.leave).int()
        shifts = int(self.query_shift(torch.tensor(k.shape[1] - 1)))
        if shifts == 0:
            return seen
        distance = torch.arange(1, shifts + 1, device=k.device)
        sinks = lambda x: x[:, : self.sinks].transpose(1, 2)[
            :, :, None
        ]  # [batch, heads, 1, sinks, d]
        seen.extra_k = self.rope(sinks(k).float(), distance[:, None]).to(k.dtype)
        seen.extra_v = sinks(v).expand(seen.extra_k.shape)
        seen.first = torch.zeros(len(k), self.sinks, dtype=torch.int32, device=k.device)
        return seen


class Landmark(Full):
    """Window, exact bank and summary bank."""

    extra = property(lambda self: self.settings.summary)
    gated = True

    def __init__(self, settings: Settings):
        self.settings = settings

    def method(self):
        return self.settings.method()

    def reach(self, tokens):
        s = self.settings
        n = (torch.arange(tokens) // s.block - s.lag).clamp_min(0)
        return ints(n * s.block), ints(n)

    def kept_before(self, n):
        """How many of kept_tokens can be there by snapshot n, at most."""
        s = self.settings
        return (s.sinks + n * s.exact_candidates) * (s.exact > 0)

    def evictions(self, tokens):
        return max(0, (tokens - 1) // self.settings.block - self.settings.lag)

    def visible(self, k, v, gate, eta):
        s, evictions = self.settings, self.evictions(k.shape[1])
        seen = nothing_kept(*self.on(k.shape[1], k.device), len(k))
        if evictions == 0:
            return seen
        fast = k.is_cuda
        if s.live:
            decide = banks_gpu.decide_live if fast else banks.decide_live
        else:
            decide = banks.decide_blocks
        d = decide(k.detach(), v.detach(), gate.detach(), eta.detach(), s, evictions)
        seen.enter, seen.leave, seen.decisions = d.enter, d.leave, d
        if s.exact:
            seen.kept = banks.kept_tokens(d, s, evictions)
        if s.summary == 0:
            return seen
        average = banks_gpu.average if fast else banks.average
        weight, decay = banks.coefficients(gate, eta, d, s, evictions)
        slow = s.slow(k.shape[-1], k.device)
        scale = 1 if s.live else (k.shape[-1] / slow.sum()) ** 0.5
        seen.extra_k = average(k * (slow * scale).to(k.dtype), d.route, weight, decay, s, evictions)
        seen.extra_v = average(v, d.route, weight, decay, s, evictions)
        seen.first = banks.first_open(d, s, evictions)
        if s.count_bias:
            seen.extra_bias = banks.log_counts(gate, eta, d, s, evictions)
        return seen


def parse(text, rope):
    """A retention from the way kvgauge writes it."""
    name, _, inside = text.rstrip(")").partition("(")
    given = dict(part.split("=") for part in inside.split(",") if part)
    number = lambda *keys: {key: int(given.pop(key)) for key in keys if key in given}
    if name == "full":
        made = Full()
    elif name == "window":
        made = Window(**number("window"))
    elif name == "sinks":
        made = Sinks(**number("sinks", "window"), rope=rope)
    elif name == "landmark":
        sizes = number("window", "exact", "summary", "block")
        if given.pop("semantics", "fixed") == "reference":
            assert given.pop("arithmetic") == "f32" and given.pop("mem_init") == "zeros"
            made = Landmark(Settings.reference(**sizes))
        else:
            band, bias = given.pop("lf_band", "pairs"), given.pop("count_bias", "on") == "on"
            made = Landmark(Settings.fixed(**sizes, band=band, count_bias=bias))
    else:
        raise ValueError(f"no retention '{name}' to train under")
    if given:
        raise ValueError(f"{text}: {', '.join(given)} cannot be trained under")
    return made
