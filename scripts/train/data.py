"""Training rows: text windows drawn on the device, problems packed by worker processes."""

import multiprocessing

import numpy as np
import torch

import code_items
from corpus import BOS
from items import Draw, Retrieval
from messy import Facts, Messy
from segments import TEXT, Encoder, Haystack, Segment, join

SHARES = {
    "passkey": 0.06,
    "keyed": 0.15,
    "dense": 0.13,
    "uuids": 0.08,
    "copy": 0.02,
    "messy": 0.48,
    "code": 0.08,
}
MIN_PROBLEM = 256


class Problems:
    """Packs generated problems into rows of any length."""

    def __init__(self, processor, text, code, words, seed, whole_row=0.5, shares=SHARES):
        self.encoder, self.rng = Encoder(processor), np.random.default_rng(seed)
        self.draw = Draw(self.rng, words)
        self.text = Haystack(self.encoder, text)
        self.code = Haystack(self.encoder, code)
        self.retrieval = Retrieval(self.encoder, self.draw, [(0.85, self.text), (0.15, self.code)])
        self.messy = Messy(self.encoder, self.draw, Facts(), self._messy_haystack)
        self.kinds, self.cumulative = list(shares), np.cumsum(list(shares.values()))
        self.whole_row = whole_row

    def _messy_haystack(self):
        return self.retrieval.repeated() if self.draw.chance(0.05) else self.retrieval.haystack()

    def problem(self, length):
        kind = self.kinds[np.searchsorted(self.cumulative, self.rng.random() * self.cumulative[-1])]
        if kind == "messy":
            return self.messy.problem(length)
        if kind == "code":
            stack = self.code if self.draw.chance(0.7) else self.text
            return code_items.problem(length, self.encoder, self.draw, stack)
        return getattr(self.retrieval, kind)(length)

    def row(self, length):
        """Segment of exactly `length` tokens: one problem, or several packed."""
        out = []
        while length > 0:
            n = length
            if length > 2 * MIN_PROBLEM and not self.draw.chance(self.whole_row):
                n = int(self.rng.integers(MIN_PROBLEM, length))
                if length - n < MIN_PROBLEM:
                    n = length
            for _ in range(20):
                if (problem := self.problem(n)) is not None:
                    break
            else:
                ids, _, _ = self.text.window(n, self.rng)
                problem = Segment(ids, np.full(n, TEXT, np.uint8))
            out.append(problem)
            length -= n
        return join(out)


def _worker(make, seed, tokens, queue, rows):
    problems = make(seed)
    while True:
        n = tokens.value
        batch = [problems.row(n + 1) for _ in range(rows)]
        queue.put((n, np.stack([b.ids for b in batch]), np.stack([b.weights for b in batch])))


class Batches:
    """Batches of a fixed number of tokens: `share` of the rows generated, the rest text windows."""

    GROUP = 2  # rows a worker hands over at a time

    def __init__(self, make, text, device, share, batch_tokens, workers, tokens, seed=0):
        self.device, self.share, self.batch_tokens = device, share, batch_tokens
        self.tokens = multiprocessing.Value("i", tokens)
        self.queue = multiprocessing.Queue(256)
        self.workers = [
            multiprocessing.Process(
                target=_worker,
                args=(make, 1000 * seed + i + 1, self.tokens, self.queue, self.GROUP),
                daemon=True,
            )
            for i in range(workers)
        ]
        for w in self.workers:  # forked, so before the device is touched
            w.start()
        self.text = torch.from_numpy(text.astype(np.int32)).to(device)
        self.generator = torch.Generator(device).manual_seed(seed)

    def next(self, tokens):
        """ids [rows, tokens + 1], weights of the same shape, rows that are text (the first ones)"""
        self.tokens.value = tokens
        rows = self.batch_tokens // tokens
        made = round(self.share * rows / self.GROUP) * self.GROUP
        shape = (rows - made, 1)
        start = torch.randint(
            0, len(self.text) - tokens - 2, shape, device=self.device, generator=self.generator
        )
        ids = self.text[start + torch.arange(tokens + 1, device=self.device)].long()
        ids[:, 0] = BOS
        weights = torch.ones(ids.shape, device=self.device)
        if made:
            problems = [self._take(tokens) for _ in range(made // self.GROUP)]
            to_device = lambda part, dtype: torch.from_numpy(
                np.concatenate([p[part] for p in problems]).astype(dtype)
            ).to(self.device)
            ids = torch.cat([ids, to_device(0, np.int32).long()])
            weights = torch.cat([weights, to_device(1, np.float32) / TEXT])
        return ids, weights, rows - made

    def _take(self, tokens):
        while True:
            n, ids, weights = self.queue.get()
            if n == tokens:
                return ids, weights

    def close(self):
        for w in self.workers:
            w.terminate()
