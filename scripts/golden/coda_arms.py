"""Writes model/golden/coda-arms: small random arms, and what the training code computes with them.

    python scripts/golden/coda_arms.py        (needs torch, safetensors, sentencepiece; CPU)

base/ and the arms beside it are checkpoints as scripts/train/export.py writes them (an arm is its
attention over the base; values are bf16 as stored, arithmetic is f32). For each case
NAME.safetensors holds, with `checkpoint` and `method` in its metadata:

    tokens             I32 [tokens]
    logits             F32 [tokens, vocab]          of the token after each

and for every layer L with banks, as they are after the last token:

    L.exact_positions  I32 [n]                      the tokens in the exact bank
    L.exact_k, _v      F32 [n, kv_heads, head_dim]
    L.summary_slots    I32 [m]                      the averages in use
    L.summary_k, _v    F32 [m, kv_heads, head_dim]

Every rule of the banks is met, and no decision hangs on rounding.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "train"))

import export  # noqa: E402
from banks import NEVER  # noqa: E402
from coda import Arm, Attention  # noqa: E402
from model import Config, TinyLlama  # noqa: E402

FOLDER = ROOT / "model" / "golden" / "coda-arms"
CONFIG = Config(vocab=32, layers=2, width=32, heads=4, kv_heads=2, head_dim=16, hidden=48,
                context=256, theta=1e4)  # fmt: skip
TOKENS = 128
LANDMARK = "landmark(window=16,exact=8,summary=8)"
PUBLISHED = (
    "landmark(window=16,exact=8,summary=8,semantics=reference,block=16,arithmetic=f32,"
    "mem_init=zeros)"
)
CODA = Attention("coda")

# checkpoint: attention, whether it has write gates and rates, {case: retention}
CHECKPOINTS = {
    "gqa": (Attention("gqa"), {"full": "full"}),
    "gqa-bounded": (Attention("gqa"), {"landmark": LANDMARK, "published": PUBLISHED}),
    "coda": (CODA, {"full": "full", "window": "window(window=16)",
                    "sinks": "sinks(sinks=4,window=16)"}),
    "coda-added": (Attention("coda", second_map="add"), {"full": "full"}),
    "coda-bounded": (CODA, {
        "landmark": LANDMARK,
        "whole-keys": "landmark(window=16,exact=8,summary=8,lf_band=all)",
        "no-counts": "landmark(window=16,exact=8,summary=8,count_bias=off)",
        "exact-only": "landmark(window=16,exact=8,summary=0)",
        "summary-only": "landmark(window=16,exact=0,summary=8)",
        "block-of-8": "landmark(window=24,exact=7,summary=5,block=8)",
        "published": PUBLISHED,
    }),
}  # fmt: skip


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def as_stored(module):
    for p in module.parameters():
        p.data = p.data.bfloat16().float()


def make_base(generator):
    """Attention far from uniform; the upper half of the vocabulary resembles the lower one."""
    base = TinyLlama(CONFIG)
    half = normal(generator, CONFIG.vocab // 2, CONFIG.width)
    near = half + 0.45 * normal(generator, *half.shape)
    base.embedding.data = 0.5 * torch.cat([half, near])
    for block in base.blocks:
        for name, p in block.named_parameters():
            gain = {"q": 1.5, "k": 1.5, "o": 0.5, "down": 0.5}.get(name, 1)
            noise = normal(generator, *p.shape)
            p.data = gain * noise * p.shape[1] ** -0.5 if p.ndim == 2 else 1 + 0.2 * noise
    as_stored(base)
    return base


def make_arm(base, attention, retention, seed):
    """An arm that has been somewhere: nothing is as it was at the start of training."""
    arm = Arm(base, attention, retention)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for b in arm.blocks:
            for p in (b.q, b.k, b.v, b.o):
                p += 0.3 * p.std() * normal(generator, *p.shape)
            if b.theta is not None:
                b.theta.uniform_(-3, 3, generator=generator)
                b.lam.copy_(normal(generator, *b.lam.shape) * CONFIG.width**-0.5)
                b.lam_bias.copy_(-0.5 + 0.3 * normal(generator, *b.lam_bias.shape))
            if b.write is not None:
                b.write.copy_(2 * normal(generator, *b.write.shape) * CONFIG.width**-0.5)
                b.write_bias.fill_(-0.7)
                b.eta.uniform_(-2, 1, generator=generator)
    as_stored(arm)
    return arm.eval()


def make_tokens(generator, n):
    """Every token returns, but not within 16: of equal tokens in one eviction, equal gates would
    have to be equal to the last bit."""
    tokens = [1]
    while len(tokens) < n:
        token = int(torch.randint(2, CONFIG.vocab, (1,), generator=generator))
        if token not in tokens[-16:]:
            tokens.append(token)
    return torch.tensor(tokens)


def run(arm, tokens):
    """Logits, and (k, v, gate, seen) of each layer."""
    layers = []
    keep = lambda _layer, _q, k, v, _lam, gate, seen: layers.append((k, v, gate, seen))
    return arm.logits(arm.hidden(tokens[None], observe=keep))[0], layers


def held(k, v, seen):
    """What the banks hold where the last token of a row stands."""
    n = int(seen.n[-1])
    kept = ((seen.enter[0] < n) & (n <= seen.leave[0])).nonzero()[:, 0]
    out = {"exact_positions": kept.int(), "exact_k": k[0, kept], "exact_v": v[0, kept]}
    if seen.extra_k is not None:
        used = (seen.first[0] < n).nonzero()[:, 0]
        at = lambda x: x[0, :, n - 1, used].transpose(0, 1)
        out |= {"summary_slots": used.int(), "summary_k": at(seen.extra_k)}
        out |= {"summary_v": at(seen.extra_v)}
    return {name: x.contiguous() for name, x in out.items() if len(x)}


def require_every_rule(name, settings, layers):
    """Tokens are kept, refused, hit and given up; averages open and are joined."""
    met = dict.fromkeys(("kept", "given up", "hits", "opened", "joined", "refused"), 0)
    for _, _, gate, seen in layers:
        d = seen.decisions
        came = d.enter[0] < NEVER
        met["kept"] += int(came.sum())
        met["given up"] += int((d.leave[0] < NEVER).sum())
        met["opened"] += int(d.opens.sum())
        met["joined"] += int(((d.route >= 0) & (d.opens == 0)).sum())
        met["refused"] += int((gate < settings.tau_summary).sum())
        for e in range(int(seen.n[-1])):
            part = slice(max(e * settings.block, settings.sinks), (e + 1) * settings.block)
            offered = gate[0, part].numel() and gate[0, part].max() >= settings.tau_gate
            met["hits"] += int(bool(offered) and not came[part].any())
    absent = set() if settings.exact else {"kept", "given up", "hits"}
    absent |= set() if settings.summary else {"opened", "joined"}
    absent |= set() if settings.live else {"hits"}  # several tokens of an eviction may be kept
    missing = [rule for rule, count in met.items() if count == 0 and rule not in absent]
    assert not missing, f"{name}: no token was {', '.join(missing)}"
    print(f"{name}: {', '.join(f'{count} {rule}' for rule, count in met.items())}")


def require_margins(name, arm, tokens, layers):
    """The same decisions with every activation off by some 1e-5, ten times what rounding does."""
    generator, embedding = torch.Generator().manual_seed(0), arm.embedding.data
    for _ in range(8):
        arm.embedding.data = embedding * (1 + 1e-5 * normal(generator, *embedding.shape))
        for (*_, a), (*_, b) in zip(layers, run(arm, tokens)[1]):
            for field in ("enter", "leave", "route", "opens"):
                same = torch.equal(getattr(a.decisions, field), getattr(b.decisions, field))
                assert same, f"{name}: '{field}' hangs on rounding; take another seed"
    arm.embedding.data = embedding


@torch.no_grad()
def write_case(name, checkpoint, arm, tokens):
    logits, layers = run(arm, tokens[:-1])
    out = {"tokens": tokens[:-1].int(), "logits": logits}
    if arm.retention.gated:
        settings = arm.retention.settings
        require_every_rule(name, settings, layers)
        require_margins(name, arm, tokens[:-1], layers)
        # Published blocks: the last one leaves when the call ends, not when the next token comes.
        after = layers if settings.live else run(arm, tokens)[1]
        for i, (k, v, _, seen) in enumerate(after):
            out |= {f"{i}.{what}": x for what, x in held(k, v, seen).items()}
    metadata = {"checkpoint": checkpoint, "method": arm.retention.method() + "+f32"}
    path = FOLDER / f"{name}.safetensors"
    save_file(out, path, metadata)
    path.chmod(0o644)
    print(f"{name}: logits within {logits.abs().max():.1f}, deviation {logits.std():.2f}")
    return logits


def write_base(base):
    folder = FOLDER / "base"
    folder.mkdir(parents=True)
    state = base.state_dict()
    tensors = {theirs: state[ours].bfloat16() for ours, theirs in export.names(CONFIG).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = export.hf_config(CONFIG, CONFIG.context)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    generator = torch.Generator().manual_seed(7)
    base = make_base(generator)
    write_base(base)
    tokens = make_tokens(generator, TOKENS + 1)
    for seed, (checkpoint, (attention, cases)) in enumerate(CHECKPOINTS.items()):
        for case, retention in cases.items():
            arm = make_arm(base, attention, retention, 100 + seed)
            export.write_arm(arm, FOLDER / "base", "../base", FOLDER / checkpoint)
            write_case(f"{checkpoint}-{case}", checkpoint, arm, tokens)


if __name__ == "__main__":
    main()
