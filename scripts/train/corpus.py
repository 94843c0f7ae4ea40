"""Reads the training text and turns it into tokens, once, in parallel.

A corpus file is xz-compressed and holds documents separated by NUL bytes.
"""

import collections
import json
import lzma
import multiprocessing
import os
import pathlib
import re

import numpy as np
import sentencepiece as spm

BOS = 1
NEWLINE = 13  # byte piece <0x0A>
HELD_OUT = ("wiki", "books", "code")
CODE_LINE = re.compile(rb"[;{}()=]\s*$|^\s*(def|class|return|import|#include|if) ?", re.M)


def train_file(data_root):
    return pathlib.Path(data_root) / "train" / "train_mix.txt.xz"


def held_out_file(data_root, name):
    return pathlib.Path(data_root) / "train" / f"val_{name}.txt.xz"


def documents(path):
    return lzma.open(path).read().split(b"\0")


def split_document(doc, size):
    """Pieces of about `size` bytes that end at a line end where there is one."""
    start = 0
    while start < len(doc):
        stop = min(len(doc), start + size)
        if stop < len(doc):
            line_end = doc.rfind(b"\n", start, stop)
            stop = line_end + 1 if line_end > start else stop
        yield doc[start:stop]
        start = stop


def looks_like_code(text, sample=20_000):
    """By the line ends in the middle of the document; its head may be a licence."""
    middle = len(text) // 2
    part = text[middle : middle + sample]
    return len(CODE_LINE.findall(part)) > 0.2 * (part.count(b"\n") + 1)


_processor = None


def _load(model_path):
    global _processor
    _processor = spm.SentencePieceProcessor(model_file=str(model_path))


def _encode(text):
    return np.array(_processor.encode(text.decode("utf-8", "ignore")), np.uint16)


def tokenize(docs, model_path, chunk_bytes=200_000):
    """One token stream, BOS before each document, and a mask of the tokens that are code."""
    jobs, first, code = [], [], []
    for doc in docs:
        is_code = looks_like_code(doc)
        for n, chunk in enumerate(split_document(doc, chunk_bytes)):
            jobs.append(chunk)
            first.append(n == 0)
            code.append(is_code)
    out, mask = [], []
    with multiprocessing.Pool(os.cpu_count(), _load, (model_path,)) as pool:
        for starts, is_code, ids in zip(first, code, pool.imap(_encode, jobs, chunksize=8)):
            if starts:
                ids = np.concatenate([np.array([BOS], np.uint16), ids])
            out.append(ids)
            mask.append(np.full(len(ids), is_code))
    return np.concatenate(out), np.concatenate(mask)


def common_words(docs, samples=40, sample_bytes=500_000, min_count=4, seed=5):
    """Lower-case words of 4-9 letters that occur repeatedly, in a fixed random order."""
    text = b"\n".join(docs)
    count = collections.Counter()
    for start in range(0, len(text), max(1, len(text) // samples)):
        part = text[start : start + sample_bytes]
        count.update(re.findall(rb"(?<![A-Za-z])[a-z]{4,9}(?![A-Za-z])", part))
    words = sorted(w.decode() for w, n in count.items() if n >= min_count)
    np.random.default_rng(seed).shuffle(words)
    return words


class Corpus:
    """Token arrays of one data root: train, code (the code in train), val[name], and words.

    The arrays are kept in `cache`, which makes a second start fast.
    """

    def __init__(self, data_root, model_path, cache, extra_text=None):
        cache = pathlib.Path(cache)
        if not (cache / "complete").exists():
            self._build(data_root, model_path, cache, extra_text)
        self.train = np.load(cache / "train.npy")
        self.code = np.load(cache / "code.npy")
        self.val = {name: np.load(cache / f"val_{name}.npy") for name in HELD_OUT}
        meta = json.loads((cache / "meta.json").read_text())
        self.words, self.train_bytes = meta["words"], meta["train_bytes"]

    @staticmethod
    def _build(data_root, model_path, cache, extra_text):
        cache.mkdir(parents=True, exist_ok=True)
        docs = documents(train_file(data_root))
        words = common_words(docs)  # without the extra text, which would change the tests
        if extra_text:
            docs += pathlib.Path(extra_text).read_bytes().split(b"\0")
        ids, code = tokenize(docs, model_path)
        np.save(cache / "train.npy", ids)
        np.save(cache / "code.npy", ids[code])
        for name in HELD_OUT:
            held_out, _ = tokenize(documents(held_out_file(data_root, name)), model_path)
            np.save(cache / f"val_{name}.npy", held_out)
        meta = {"words": words, "train_bytes": sum(len(d) for d in docs)}
        (cache / "meta.json").write_text(json.dumps(meta))
        (cache / "complete").touch()


def token_bytes(processor):
    """Bytes of text each piece stands for; control pieces count 0."""
    size = np.zeros(processor.vocab_size(), np.int64)
    for i in range(processor.vocab_size()):
        if processor.is_byte(i):
            size[i] = 1
        elif not processor.is_control(i) and not processor.is_unknown(i):
            size[i] = len(processor.id_to_piece(i).replace("\u2581", " ").encode())
    return size
