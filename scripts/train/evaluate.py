"""Held-out tests of kvg-tiny: exact match on retrieval, bits per byte on text.

Keys are words, and names are names, that training never shows; the haystack is held-out text.
Exact match: every token of the answer is the argmax given the ones before it, which is the same
as a greedy decode that yields the answer.
"""

import multiprocessing
import os

import numpy as np
import torch
import torch.nn.functional as F

import code_items
import messy
from items import KEYED, LANDMARK_HEAD, SINGLE, Draw, Retrieval
from segments import ANSWER, COPY, Encoder, Haystack, assemble, join

UNSEEN_SINGLE = (
    "Keep in mind: the secret vault combination equals {v}, nothing else.",
    "Which number opens the secret vault? The secret vault combination equals",
    "",
)
UNSEEN_KEYED = (
    "The warehouse in {k} stores {v} boxes.",
    "How many boxes does the warehouse in {k} store? The warehouse in {k} stores",
    "",
)
LINES = KEYED[6]
PASSKEYS = {
    "passkey": SINGLE[0],
    "passkey_bare": SINGLE[0],
    "passkey_filler": SINGLE[0],
    "passkey_unseen": UNSEEN_SINGLE,
}
NEEDLES = {
    "needle9": KEYED[0],
    "ruler9": KEYED[1],
    "register9_bare": KEYED[5],
    "unseen9": UNSEEN_KEYED,
}
MESSY = [f"messy_{kind}{suffix}" for kind in messy.KINDS for suffix in ("", "_unseen")]
MESSY += ["messy_plain_restated"]  # new statements, known questions; _unseen has new questions too
KINDS = [*PASSKEYS, *NEEDLES, "lines", "uuid", "code", *MESSY]
CURVE = [
    ("passkey", 4096),
    ("needle9", 4096),
    ("unseen9", 1024),
    ("unseen9", 4096),
    ("lines", 2048),
    ("uuid", 4096),
    ("code", 4096),
    ("messy_plain", 2048),
    ("messy_plain_unseen", 2048),
    ("messy_stale", 2048),
    ("messy_absent", 2048),
]


class Tests:
    """Builds one test item at a time."""

    def __init__(self, processor, text, code, words, facts, seed):
        self.encoder, self.rng = Encoder(processor), np.random.default_rng(seed)
        self.draw = Draw(self.rng, words, random_wordings=0)
        self.text, self.code = Haystack(self.encoder, text), Haystack(self.encoder, code)
        self.retrieval = Retrieval(self.encoder, self.draw, [(1.0, self.text)])
        make = lambda new: messy.Messy(
            self.encoder, self.draw, facts, lambda: self.text, True, *new, made_up=0
        )
        self.messy = {
            "": make((False, False)),
            "restated": make((True, False)),
            "unseen": make((True, True)),
        }

    def item(self, kind, length):
        if kind in PASSKEYS:
            return self._passkey(kind, length)
        if kind in NEEDLES:
            return self._needles(kind, length)
        if kind == "lines":
            return self._lines(length)
        if kind == "uuid":
            return self._uuid(length)
        if kind == "code":
            return self._code(length)
        _, what, *wording = kind.split("_")
        return self.messy["".join(wording)].test(length, what)

    def _key(self):
        return self.draw.pick(self.draw.words) + "-" + self.draw.pick(self.draw.words)

    def _passkey(self, kind, length):
        wording, value, r = PASSKEYS[kind], self.draw.number(5), self.retrieval
        lead = "\n" if kind == "passkey_filler" else ""
        head = self.encoder.text(LANDMARK_HEAD.replace("{it}", "them") + lead)
        stack = r.filler if kind == "passkey_filler" else self.text
        ask = r.ask(wording, "", value, "", kind == "passkey_bare", lead)
        return assemble(
            length,
            self.rng,
            stack,
            [r.statement(wording, "", value, "", bool(lead))],
            [ask],
            [head],
        )

    def _needles(self, kind, length):
        wording, r = NEEDLES[kind], self.retrieval
        pairs = [(self._key(), self.draw.number(5), "special magic number") for _ in range(9)]
        items = [r.statement(wording, *p) for p in pairs]
        ask = r.ask(wording, *self.draw.pick(pairs), bare=kind.endswith("bare"))
        return assemble(length, self.rng, self.text, items, [ask])

    def _lines(self, length):
        """Records from the first token to the question."""
        r, lines, pairs, used = self.retrieval, [], [], 0
        while used < length - 110:
            pair = (self._key(), self.draw.number(5), "")
            lines.append(r.record(LINES, *pair))
            pairs.append(pair)
            used += len(lines[-1])
        return assemble(
            length,
            self.rng,
            self.text,
            [join(lines)],
            [r.ask(LINES, *self.draw.pick(pairs), lead="\n")],
        )

    def _uuid(self, length):
        encode, draw = self.encoder.encode, self.draw
        pairs = [(draw.uuid(), draw.uuid()) for _ in range(min(9, (length - 150) // 110))]
        items = [encode([(f'"{k}": "{v}",', 10)]) for k, v in pairs]
        k, v = draw.pick(pairs)
        ask = encode([(f'Key: "{k}" Value: "', 10), (v, ANSWER), ('"', 10)])
        return assemble(length, self.rng, self.text, items, [ask])

    def _code(self, length):
        while True:
            item = code_items.problem(length, self.encoder, self.draw, self.code)
            if item is not None:
                break
        # Only the last question counts.
        answers = np.nonzero(item.weights == ANSWER)[0]
        breaks = np.nonzero(np.diff(answers) > 1)[0]
        if len(breaks):
            item.weights[answers[: breaks[-1] + 1]] = 0
        return item


_arguments = None  # of Tests; the workers are forked and find it here


def _build(job):
    kind, length, count, seed = job
    tests, items = Tests(*_arguments, seed=seed), []
    while len(items) < count:
        if (item := tests.item(kind, length)) is not None:
            items.append(item)
    return (
        (kind, length),
        np.stack([i.ids for i in items]),
        np.stack([i.weights > COPY for i in items]),
    )


def build_sets(arguments, kinds_and_lengths, count=100):
    """{(kind, length): (ids, answer mask)}; `arguments` are those of Tests, but for the seed."""
    global _arguments
    _arguments = arguments
    jobs = [(k, n, count, 7919 * KINDS.index(k) + n) for k, n in kinds_and_lengths]
    with multiprocessing.Pool(os.cpu_count()) as pool:
        return {key: (ids, mask) for key, ids, mask in pool.imap_unordered(_build, jobs)}


@torch.no_grad()
def exact_match(model, ids, mask, context, abstain=-2, batch_tokens=262144):
    """(share of items answered, share whose answer begins with the token `abstain`)"""
    device = model.embedding.device
    hits, refusals = [], []
    step = max(1, batch_tokens // ids.shape[1])
    for i in range(0, len(ids), step):
        x = torch.from_numpy(ids[i : i + step].astype(np.int64)).to(device)
        answer = torch.from_numpy(mask[i : i + step, 1:]).to(device)
        with context():
            best = model.logits(model.hidden(x[:, :-1])[answer]).argmax(-1)
        hit = torch.ones_like(answer)
        hit[answer] = best == x[:, 1:][answer]
        hits.append(hit.all(1))
        said = torch.full(answer.shape, -1, device=device)
        said[answer] = best
        refusals.append(said.gather(1, answer.int().argmax(1, keepdim=True))[:, 0] == abstain)
    return torch.cat(hits).float().mean().item(), torch.cat(refusals).float().mean().item()


@torch.no_grad()
def bits_per_byte(model, ids, token_bytes, context, tokens=4096, windows=300, batch_tokens=131072):
    """Over consecutive windows of `tokens`, each starting afresh from BOS."""
    device = model.embedding.device
    windows = min(windows, (len(ids) - 1) // tokens)
    nats = size = 0
    step = max(1, batch_tokens // tokens)
    for i in range(0, windows, step):
        rows = [ids[k * tokens : (k + 1) * tokens + 1] for k in range(i, min(windows, i + step))]
        x = torch.from_numpy(np.stack(rows).astype(np.int64)).to(device)
        target = x[:, 1:].clone()
        x = x[:, :-1].clone()
        x[:, 0] = 1
        with context():
            logits = model.logits(model.hidden(x)).float()
            nats += F.cross_entropy(
                logits.view(-1, logits.shape[-1]), target.reshape(-1), reduction="sum"
            ).item()
        size += token_bytes[target.cpu().numpy()].sum()
    return nats / size / np.log(2)
