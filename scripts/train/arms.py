"""Trains the arms of the comparison from one base, on the same batches in the same order.

    python3 scripts/train/arms.py --base model/zoo/kvg-tiny --batches runs/arm-data/seed-0 \\
        --out runs/arms --arms gqa,gqa-bounded,coda,coda-bounded --seed 0
    python3 scripts/train/arms.py --list

For each arm OUT/NAME-sSEED/: config.json and model.safetensors (its attention over the base; kvgauge
runs it), and training.json: what it cost, the losses, and how far gates and rates have moved.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import time

import numpy as np
import torch

import export
from coda import Arm, Attention
from segments import ANSWER, TEXT

START = time.time()
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Averages are read as single tokens are, as published: `count_bias=on` would add the log of the tokens
# that an average stands for.
BANKS = "landmark(window=128,exact=64,summary=64,count_bias=off)"
PUBLISHED = (
    "landmark(window=128,exact=64,summary=64,semantics=reference,block=128,arithmetic=f32,"
    "mem_init=zeros)"
)
CODA = Attention("coda")

# Every bounded arm holds the bytes of BANKS, to within a slot.
ARMS = {
    "gqa": (Attention("gqa"), "full"),
    "gqa-bounded": (Attention("gqa"), BANKS),
    "coda": (CODA, "full"),
    "coda-bounded": (CODA, BANKS),
    # Controls of the differential part.
    "coda-bounded-lambda0": (Attention("coda", gain="zero"), BANKS),
    "coda-bounded-added": (Attention("coda", second_map="add"), BANKS),
    "coda-bounded-random": (Attention("coda", rotation="random"), BANKS),
    # Controls of the banks.
    "coda-window": (CODA, "window(window=290)"),
    "coda-sinks": (CODA, "sinks(sinks=4,window=286)"),
    "coda-exact": (CODA, "landmark(window=128,exact=158,summary=0)"),
    "coda-summary": (CODA, "landmark(window=128,exact=0,summary=107,count_bias=off)"),
    "coda-whole-keys": (
        CODA,
        "landmark(window=128,exact=64,summary=48,lf_band=all,count_bias=off)",
    ),
    # The published update rules instead of the described ones.
    "gqa-published": (Attention("gqa"), PUBLISHED),
    "coda-published": (CODA, PUBLISHED),
}


def log(*words):
    print(f"[{time.time() - START:6.1f}]", *words, flush=True)


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--list", action="store_true", help="the arms, and nothing else")
    p.add_argument("--base", type=pathlib.Path, help="folder of the base model")
    p.add_argument("--base-name", help="how an arm's folder names its base; default: its name")
    p.add_argument("--batches", type=pathlib.Path, help="folder made by arm_data.py")
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/arms"))
    p.add_argument("--arms", default=",".join(ARMS))
    p.add_argument("--seed", type=int, default=0, help="of what is new in an arm")
    p.add_argument("--steps", type=int, help="default: all batches")
    p.add_argument("--matrices", type=float, default=1e-3, help="learning rate of q, k, v, o")
    p.add_argument("--gates", type=float, default=4e-3, help="of the weights of lambda and gate")
    p.add_argument("--scalars", type=float, default=2e-2, help="of theta, biases and rates")
    p.add_argument("--split", type=int, default=1, help="pieces a batch is worked through in")
    p.add_argument("--every", type=int, default=20, help="steps between points of the curve")
    args = p.parse_args()
    if args.list:
        for name, (attention, retention) in ARMS.items():
            print(f"{name:22} {attention.kind:5} {retention}")
        sys.exit()
    wrong = [name for name in args.arms.split(",") if name not in ARMS]
    if wrong or not args.base or not args.batches:
        p.error(f"no arm {wrong[0]}" if wrong else "--base and --batches are needed")
    return args


class Batches:
    """tokens and weights of a batch, on the device."""

    def __init__(self, folder):
        self.meta = json.loads((folder / "meta.json").read_text())
        self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        self.weights = np.load(folder / "weights.npy", mmap_mode="r")

    def __getitem__(self, i):
        to = lambda x: torch.from_numpy(x).pin_memory().to(DEVICE, non_blocking=True)
        if DEVICE == "cpu":
            to = torch.from_numpy
        return to(self.tokens[i].astype(np.int64)), to(self.weights[i].astype(np.float32)) / TEXT


def precision():
    if DEVICE == "cpu":
        return contextlib.nullcontext()
    return torch.autocast("cuda", torch.bfloat16)


class Watch:
    """Means over tokens and layers of what is learned beside the matrices, and how far from the
    start it is: learned gates that do not move fail silently."""

    def __init__(self, arm):
        self.arm, self.first = arm, None

    def __call__(self, _layer, _q, _k, _v, lam, gate, _seen):
        for name, x in (("lambda", lam), ("gate", gate)):
            if x is not None:
                self.seen.setdefault(name, []).append(x.detach())

    def start(self):
        self.seen = {}
        return self

    def row(self):
        now = {name: torch.stack(parts).float() for name, parts in self.seen.items()}
        for name, parameter, value in (
            ("theta", "theta", lambda x: x),
            ("eta", "eta", torch.sigmoid),
        ):
            parts = [getattr(b, parameter) for b in self.arm.blocks]
            if parts[0] is not None:
                now[name] = value(torch.stack([p.detach() for p in parts]))
        if self.first is None:  # the first batch before the first step
            self.first = {name: x.mean() for name, x in now.items() if name in self.seen}
            self.first |= {name: x for name, x in now.items() if name not in self.seen}
        row = {}
        for name, x in now.items():
            row[f"{name}_mean"] = x.mean().item()
            row[f"{name}_moved"] = (x - self.first[name]).abs().mean().item()
            row[f"{name}_deviation"] = x.std().item()
        return {name: round(value, 6) for name, value in row.items()}


class Training:
    def __init__(self, args, name, base, batches):
        attention, retention = ARMS[name]
        self.args, self.name, self.batches = args, name, batches
        context = max(base.config.context, batches.meta["row"])
        self.arm = Arm(base, attention, retention, args.seed, context).to(DEVICE)
        if DEVICE == "cuda":
            self.arm.compile()
        self.rates = {k: getattr(args, k) for k in ("matrices", "gates", "scalars")}
        groups = [
            {"params": parameters, "peak": self.rates[kind]}
            for kind, parameters in self.arm.groups().items()
            if parameters
        ]
        self.trained = [p for g in groups for p in g["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, betas=(0.9, 0.95), weight_decay=0.0, fused=DEVICE == "cuda"
        )
        self.steps = args.steps or batches.meta["steps"]
        self.watch = Watch(self.arm)

    def scale(self, step):
        return min(1, (step + 1) / 20) * min(1, 2 * (1 - step / self.steps))

    def losses(self, batch, observe=None):
        """Weighted loss of each token, flat, a piece of the batch at a time."""
        ids, weights = batch
        for part, weight in zip(ids.chunk(self.args.split), weights.chunk(self.args.split)):
            with precision():
                x = self.arm.hidden(part[:, :-1].contiguous(), DEVICE == "cuda", observe)
                yield self.arm._loss(
                    x, self.arm.norm, self.arm.embedding, part[:, 1:].contiguous(),
                    weight[:, 1:].contiguous(),
                )  # fmt: skip

    def backward(self, batch, observe=None):
        total = 0
        for loss in self.losses(batch, observe):
            loss = loss.mean() / self.args.split
            loss.backward()
            total += loss.detach()
        return total

    def step(self, i, observe=None):
        loss = self.backward(self.batches[i], observe)
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.scale(i)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def held_out(self):
        """Nats per token of text, and of the answers of generated problems."""
        text, answers = [], []
        for i in range(self.batches.meta["held_out"]):
            ids, weights = self.batches[self.batches.meta["steps"] + i]
            loss = torch.cat([part.detach() for part in self.losses((ids, weights))])
            weights = weights[:, 1:]
            loss = loss.view(weights.shape) / weights.clamp_min(0.1)
            rows = self.batches.meta["text_rows"]
            text.append(loss[:rows].mean())
            answers.append(loss[rows:][weights[rows:] == ANSWER / TEXT])
        return {
            "held_out_text": round(torch.stack(text).mean().item(), 4),
            "held_out_answers": round(torch.cat(answers).mean().item(), 4),
        }

    def run(self):
        for _ in range(2):  # compiles; changes nothing
            self.backward(self.batches[0])
        self.optimizer.zero_grad()
        self.watch.start()
        self.backward(self.batches[0], self.watch)
        start = self.watch.row()
        self.optimizer.zero_grad()
        curve = [{"step": 0, "tokens": 0, **start, **self.held_out()}]
        log(self.name, json.dumps(curve[0]))
        if DEVICE == "cuda":
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        begin = time.time()
        for i in range(self.steps):
            wanted = (i + 1) % self.args.every == 0 or i + 1 == self.steps
            loss = self.step(i, self.watch.start() if wanted else None)
            if wanted:
                tokens = (i + 1) * self.batches.meta["rows"] * self.batches.meta["row"]
                row = {"step": i + 1, "tokens": tokens, "loss": round(loss.item(), 4)}
                curve.append(row | self.watch.row())
                if (i + 1) % (5 * self.args.every) == 0:
                    log(self.name, json.dumps(curve[-1]))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds = time.time() - begin
        curve[-1] |= self.held_out()
        log(self.name, f"{seconds:.1f} s", json.dumps(curve[-1]))
        return curve, seconds

    def record(self, curve, seconds):
        a, meta = self.args, self.batches.meta
        tokens = self.steps * meta["rows"] * meta["row"]
        return {
            "schema_version": 1,
            "arm": self.name,
            "seed": a.seed,
            "model": a.base.resolve().name,
            "base": {
                "name": a.base_name or a.base.resolve().name,
                "sha256": export.file_hash(a.base / "model.safetensors"),
            },
            "attention": self.arm.attention.kind,
            "retention": self.arm.retention.method(),
            "data": {"sha256": meta["sha256"], "seed": meta["seed"], "row": meta["row"],
                     "rows": meta["rows"]},
            "steps": self.steps,
            "tokens": tokens,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds),
            "peak_bytes": torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0,
            "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
            "torch": torch.__version__,
            "parameters_trained": sum(p.numel() for p in self.trained),
            "learning_rates": self.rates,
            "split": a.split,
            "command": ["arms.py", *sys.argv[1:]],
            "curve": curve,
        }  # fmt: skip


def main(args):
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.recompile_limit = 64
    base, batches = export.read_folder(args.base), Batches(args.batches)
    for name in args.arms.split(","):
        torch.manual_seed(args.seed)
        training = Training(args, name, base, batches)
        curve, seconds = training.run()
        folder = args.out / f"{name}-s{args.seed}"
        export.write_arm(
            training.arm, args.base, args.base_name or args.base.resolve().name, folder
        )
        record = training.record(curve, seconds)
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
        log(f"{name} seed {args.seed}: {record['tokens_per_second']} tokens/s,"
            f" {record['peak_bytes'] / 2**30:.1f} GiB")  # fmt: skip
        del training
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main(options())
