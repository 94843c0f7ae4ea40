"""Trains kvg-tiny on one CUDA GPU, tests it on held-out data and exports it.

    python3 scripts/train/train.py --data $KVG_DATA --tokenizer T/tokenizer.model --out runs/tiny
    torchrun --nproc-per-node 4 scripts/train/train.py --shape small ...     # several GPUs
    python3 scripts/train/train.py --smoke      # a CPU, under a minute, no data

The schedule follows the clock: short rows first, long rows last, and a learning rate that falls to
zero over the second half of --seconds, so that any budget ends in a finished model.
"""

import argparse
import contextlib
import csv
import functools
import json
import multiprocessing
import os
import pathlib
import time
from dataclasses import replace

# One process a GPU under torchrun, and each sees its own alone.
RANK, PROCESSES = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if PROCESSES > 1:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(PROCESSES))))
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(os.environ["LOCAL_RANK"])]

import numpy as np
import sentencepiece as spm
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import corpus
import evaluate
import export
from data import Batches, Problems
from messy import Facts
from model import SHAPES, TinyLlama
from optim import Optimizer

START = time.time()
LENGTHS = (1024, 2048, 4096, 8192)
DEVICE = (
    "cuda"
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "" and os.path.exists("/dev/nvidiactl")
    else "cpu"
)


def log(*words):
    print(f"[{time.time() - START:6.1f}]", *words, flush=True)


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def parse_stages(text):
    """ "1024:0.13,4096:0.8,8192:1" -> [(tokens, end as a share of the budget)]"""
    return [(int(n), float(end)) for n, end in (part.split(":") for part in text.split(","))]


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", default=os.environ.get("KVG_DATA"), help="data root (KVG_DATA)")
    p.add_argument("--tokenizer", type=pathlib.Path)
    p.add_argument("--extra-text", type=pathlib.Path, help="more text, NUL-separated documents")
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/tiny"))
    p.add_argument("--cache", type=pathlib.Path, help="token cache, default OUT/tokens")
    p.add_argument("--seconds", type=float, default=260.0, help="training time")
    p.add_argument("--stages", type=parse_stages, default="1024:0.12,4096:0.78,8192:1")
    p.add_argument("--shape", choices=SHAPES, default="tiny")
    p.add_argument("--batch-tokens", type=int, default=131072, help="of each GPU")
    p.add_argument("--made", type=float, default=0.45, help="share of generated rows")
    p.add_argument(
        "--decay", type=float, default=0.5, help="share of the budget the learning rate falls over"
    )
    p.add_argument("--every", type=float, default=26.0, help="seconds between points of the curve")
    p.add_argument(
        "--lengths",
        type=lambda t: tuple(map(int, t.split(","))),
        default=LENGTHS,
        help="of the tests",
    )
    p.add_argument("--items", type=int, default=200, help="items per test")
    p.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 4) - 3))
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--smoke", action="store_true", help="a tiny run on generated text, on the CPU")
    return p.parse_args()


def precision(device):
    """The context forward passes run in."""
    if device == "cpu":
        return contextlib.nullcontext

    @contextlib.contextmanager
    def context():
        # Flash attention: the one backend this recipe was found to be stable with.
        with torch.autocast("cuda", torch.bfloat16), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            yield

    return context


def average_gradients(model):
    if PROCESSES > 1:
        gradients = [p.grad for p in model.parameters()]
        flat = torch._utils._flatten_dense_tensors(gradients)
        torch.distributed.all_reduce(flat, torch.distributed.ReduceOp.AVG)
        parts = torch._utils._unflatten_dense_tensors(flat, gradients)
        torch._foreach_copy_(gradients, list(parts))


def agree(progress):
    """That of the first process, so that all take the same steps."""
    if PROCESSES == 1:
        return progress
    value = torch.tensor(progress, dtype=torch.float64, device=DEVICE)
    torch.distributed.broadcast(value, 0)
    return value.item()


class Trainer:
    def __init__(self, model, batches, stages, decay, context, device):
        self.model, self.batches, self.stages, self.decay = model, batches, stages, decay
        self.context, self.optimizer = context, Optimizer(model, compiled=device != "cpu")
        self.steps, self.device = 0, device

    def scale(self, progress):
        """Learning rate relative to its peak."""
        return min(1, (self.steps + 1) / 60) * min(1, (1 - progress) / self.decay)

    def stage(self, progress):
        return next(n for n, end in self.stages if progress < end)

    def loss(self, tokens):
        """Backward pass of one batch; mean loss over its text rows, in nats per token."""
        ids, weights, text_rows = self.batches.next(tokens)
        with self.context():
            loss = self.model.loss(
                ids[:, :-1], ids[:, 1:].contiguous(), weights[:, 1:].contiguous()
            )
        loss.mean().backward()
        return loss.detach().view(-1, tokens)[:text_rows].mean()

    def step(self, progress):
        loss = self.loss(self.stage(progress))
        average_gradients(self.model)
        self.optimizer.step(self.scale(progress))
        self.steps += 1
        return loss

    def warm_up(self):
        """Compiles every shape, so that the clock starts with a ready model."""
        for tokens, _ in reversed(self.stages):
            for _ in range(2):
                self.loss(tokens)
                self.optimizer.clear()
            synchronize()
            start = time.time()
            for _ in range(3):
                self.loss(tokens)
                self.optimizer.clear()
            synchronize()
            seconds = (time.time() - start) / 3
            log(
                f"{tokens} tokens a row: {seconds * 1e3:.1f} ms a step,"
                f" {self.batches.batch_tokens / seconds / 1e6:.2f} Mtok/s,"
                f" {self.batches.queue.qsize()} batches of problems waiting"
            )
        self.optimizer.warm_up()


def run(trainer, seconds, every, measure):
    """Trains for `seconds`, the time spent in measure() not counted. Returns the curve."""
    curve, paused, mark, begin = [], 0.0, 0.0, time.time()
    while (progress := agree((time.time() - begin - paused) / seconds)) < 1:
        loss = trainer.step(progress)
        if trainer.steps % 20 == 0:
            synchronize()
        elapsed = progress * seconds
        if elapsed - mark > every:
            synchronize()
            stop, mark = time.time(), elapsed
            row = {
                "seconds": round(elapsed, 1),
                "step": trainer.steps,
                "Mtok": round(trainer.steps * trainer.batches.batch_tokens * PROCESSES / 1e6, 1),
                "text_loss": round(loss.item(), 3),
                **measure(),
            }
            curve.append(row)
            log(json.dumps(row))
            paused += time.time() - stop
    synchronize()
    return curve, time.time() - begin - paused


def final_tests(model, tests, abstain, source, token_bytes, context):
    result = {"exact_match": {}, "says_not_stated": {}, "bits_per_byte": {}}
    for (kind, length), (ids, mask) in sorted(tests.items()):
        hit, refused = evaluate.exact_match(model, ids, mask, context, abstain)
        result["exact_match"].setdefault(kind, {})[length] = round(100 * hit, 1)
        if kind.startswith("messy"):
            result["says_not_stated"].setdefault(kind, {})[length] = round(100 * refused, 1)
    for tokens in (1024, 4096, 8192):
        for name, ids in source.val.items():
            bits = evaluate.bits_per_byte(
                model, ids, token_bytes, context, tokens, 300 * 4096 // tokens
            )
            result["bits_per_byte"].setdefault(name, {})[tokens] = round(bits, 4)
    return result


def write_results(args, out, model, trainer, curve, seconds, result, positions):
    with torch.no_grad():
        export.write_folder(model, args.tokenizer, out / "model", positions)
    tokens = trainer.steps * args.batch_tokens * PROCESSES
    summary = {
        "seconds": round(seconds, 1),
        "steps": trainer.steps,
        "tokens": tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
        "stages": args.stages,
        "batch_tokens": args.batch_tokens * PROCESSES,
        "gpus": PROCESSES,
        "made": args.made,
        "decay": args.decay,
        "seed": args.seed,
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "torch": torch.__version__,
        **result,
    }
    (out / "results.json").write_text(json.dumps(summary, indent=1) + "\n")
    with open(out / "curve.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, curve[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(curve)


def build_tests(processor, source, words, lengths, items):
    books = source.val["books"]
    text = np.concatenate([source.val["wiki"], books[: len(books) // 2]])
    wanted = dict.fromkeys([(k, n) for k in evaluate.KINDS for n in lengths] + evaluate.CURVE)
    arguments = (processor, text, source.val["code"], words, Facts())
    return evaluate.build_sets(arguments, list(wanted), items)


def make_trainer(args, processor, source, words):
    """The worker processes start here, before anything touches the device."""
    make = functools.partial(Problems, processor, source.train, source.code, words)
    longest = args.stages[-1][0]
    batches = Batches(
        make, source.train, DEVICE, args.made, args.batch_tokens, args.workers, longest,
        args.seed + 7919 * RANK,
    )  # fmt: skip
    if PROCESSES > 1:  # after the workers were forked
        torch.distributed.init_process_group("nccl")
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    model = TinyLlama(replace(SHAPES[args.shape], vocab=processor.vocab_size())).to(DEVICE)
    if DEVICE == "cuda":
        model.compile()
    log(f"{sum(p.numel() for p in model.parameters())} parameters")
    return Trainer(model, batches, args.stages, args.decay, precision(DEVICE), DEVICE)


def main(args):
    processor = spm.SentencePieceProcessor(model_file=str(args.tokenizer))
    cache = args.cache or args.out / "tokens"
    source = corpus.Corpus(args.data, args.tokenizer, cache, args.extra_text)
    log(
        f"{len(source.train)} tokens of text, {len(source.code)} of them code,"
        f" {source.train_bytes / len(source.train):.3f} bytes a token"
    )
    tenth = len(source.words) // 10
    if RANK == 0:
        tests = build_tests(processor, source, source.words[:tenth], args.lengths, args.items)
        log("tests built")
    trainer = make_trainer(args, processor, source, source.words[tenth:])
    trainer.warm_up()
    model, context = trainer.model, trainer.context
    token_bytes = corpus.token_bytes(processor)

    def measure():
        if RANK > 0:
            return {}
        wiki = source.val["wiki"]
        bits = evaluate.bits_per_byte(model, wiki, token_bytes, context, windows=32)
        row = {"bpb_wiki": round(bits, 3)}
        for kind, length in evaluate.CURVE:
            some = (part[:100] for part in tests[kind, length])
            row[f"{kind}@{length}"] = round(100 * evaluate.exact_match(model, *some, context)[0])
        return row

    curve, seconds = run(trainer, args.seconds, args.every, measure)
    trainer.batches.close()
    log(f"{trainer.steps} steps in {seconds:.1f} s")
    with torch.no_grad():
        for p in model.parameters():  # test what is shipped
            p.copy_(p.bfloat16().float())
    abstain = processor.encode(Facts().abstain)[0]
    if PROCESSES > 1:
        torch.distributed.destroy_process_group()
    if RANK > 0:
        return
    result = final_tests(model, tests, abstain, source, token_bytes, context)
    write_results(args, args.out, model, trainer, curve, seconds, result, args.stages[-1][0])
    for name, table in result.items():
        for kind, row in table.items():
            log(name, kind, *row.values())


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    arguments = options()
    if arguments.smoke:
        import smoke

        smoke.main()
    else:
        main(arguments)
