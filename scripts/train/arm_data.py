"""Makes the training batches of the arms once, so that every arm sees the same ones in order.

    python3 scripts/train/arm_data.py --data $KVG_DATA --tokenizer T/tokenizer.model \\
        --out runs/arm-data/seed-0 --seed 0 --steps 320

A batch depends on the seed and its number alone. Left are tokens.npy [steps + held-out, rows,
row + 1] and weights.npy (tenths), text rows first, and meta.json with their hash. The last batches
are held out: text that training never shows, and problems of another seed.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import pathlib

import numpy as np
import sentencepiece as spm

import corpus
from data import Problems
from segments import TEXT

HELD_OUT_SEED = 1_000_003


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", default=os.environ.get("KVG_DATA"), help="data root (KVG_DATA)")
    p.add_argument("--tokenizer", type=pathlib.Path, required=True)
    p.add_argument("--cache", type=pathlib.Path, help="token cache, default OUT/../tokens")
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--steps", type=int, default=320)
    p.add_argument("--held-out", type=int, default=2, help="batches")
    p.add_argument("--row", type=int, default=4096, help="tokens")
    p.add_argument("--batch-tokens", type=int, default=131072)
    p.add_argument("--made", type=float, default=0.45, help="share of generated rows")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    return p.parse_args()


class Maker:
    """Makes any batch by its number."""

    def __init__(self, args):
        self.args = args
        processor = spm.SentencePieceProcessor(model_file=str(args.tokenizer))
        cache = args.cache or args.out.parent / "tokens"
        source = corpus.Corpus(args.data, args.tokenizer, cache)
        tenth = len(source.words) // 10  # training's share of the words
        words = source.words[tenth:]
        self.problems = Problems(processor, source.train, source.code, words, args.seed)
        books = source.val["books"]
        self.held_out = np.concatenate([source.val["wiki"], books[: len(books) // 2]])
        self.train = source.train

    def batch(self, number):
        a = self.args
        held_out = number >= a.steps
        seed = [a.seed, number] if not held_out else [HELD_OUT_SEED, number - a.steps]
        rng = np.random.default_rng(seed)
        self.problems.rng.bit_generator.state = rng.bit_generator.state
        rows = a.batch_tokens // a.row
        made = round(a.made * rows)
        text = self.held_out if held_out else self.train
        starts = rng.integers(0, len(text) - a.row - 1, rows - made)
        ids = [text[s : s + a.row + 1].copy() for s in starts]
        for row in ids:
            row[0] = corpus.BOS
        weights = [np.full(a.row + 1, TEXT, np.uint8) for _ in ids]
        for segment in (self.problems.row(a.row + 1) for _ in range(made)):
            ids.append(segment.ids)
            weights.append(segment.weights)
        return np.stack(ids), np.stack(weights)


_maker = None


def _batch(number):
    return _maker.batch(number)


def main(args):
    global _maker
    _maker = Maker(args)
    count = args.steps + args.held_out
    shape = (count, args.batch_tokens // args.row, args.row + 1)
    args.out.mkdir(parents=True, exist_ok=True)
    create = lambda name, kind: np.lib.format.open_memmap(args.out / name, "w+", kind, shape)
    tokens, weights = create("tokens.npy", np.uint16), create("weights.npy", np.uint8)
    with multiprocessing.get_context("fork").Pool(args.workers) as pool:
        for i, (ids, weight) in enumerate(pool.imap(_batch, range(count))):
            tokens[i], weights[i] = ids, weight
    digest = hashlib.sha256(tokens.tobytes())
    digest.update(weights.tobytes())
    meta = {
        "sha256": digest.hexdigest(),
        "seed": args.seed,
        "steps": args.steps,
        "held_out": args.held_out,
        "row": args.row,
        "rows": shape[1],
        "text_rows": shape[1] - round(args.made * shape[1]),
        "tokens": args.steps * args.batch_tokens,
    }
    (args.out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    print(json.dumps(meta))


if __name__ == "__main__":
    main(options())
