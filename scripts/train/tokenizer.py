"""Trains the 4096-piece SentencePiece tokenizer of kvg-tiny.

    python3 scripts/train/tokenizer.py --data $KVG_DATA --out runs/tiny/tokenizer

BPE with byte fallback and single digits. Nothing is normalised and no white space is dropped, so
that decoding gives back the bytes that were encoded (code keeps its indentation).
"""

import argparse
import io
import os
import pathlib

import numpy as np
import sentencepiece as spm

import corpus

VOCAB_SIZE = 4096
SAMPLE_BYTES = 20_000_000
CHUNK_BYTES = 50_000


def sample_lines(data_root, sample_bytes, seed=0):
    """Lines of a random sample of the training text, `sample_bytes` long in all."""
    chunks = []
    for doc in corpus.documents(corpus.train_file(data_root)):
        chunks.extend(corpus.split_document(doc, CHUNK_BYTES))
    order = np.random.default_rng(seed).permutation(len(chunks))
    taken = 0
    for i in order:
        if taken >= sample_bytes:
            return
        taken += len(chunks[i])
        yield from chunks[i].decode("utf-8", "ignore").split("\n")


def train(lines, vocab_size=VOCAB_SIZE, **options):
    """The serialised model trained on an iterable of lines."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=(line for line in lines if line),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=0.9995,
        max_sentence_length=20_000,
        num_threads=os.cpu_count(),
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("KVG_DATA"), help="data root (KVG_DATA)")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--sample-bytes", type=int, default=SAMPLE_BYTES)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "tokenizer.model"
    path.write_bytes(train(sample_lines(args.data, args.sample_bytes)))
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
