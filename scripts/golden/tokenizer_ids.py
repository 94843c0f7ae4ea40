"""Writes model/formats/golden/tokens.json: texts and the ids that other programs give them.

    KVG_DATA=... python scripts/golden/tokenizer_ids.py [LLAMA2C_ENCODE]

SentencePiece models are encoded with the sentencepiece package. LLAMA2C_ENCODE, when given, is a
program that prints the ids of its standard input, comma-separated and without BOS, for the
tokenizer.bin named by its argument: encode() of llama2.c's run.c with a main() around it. Without
it the ids in the file are kept.
"""

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import sentencepiece

OUT = Path(__file__).resolve().parents[2] / "model" / "formats" / "golden" / "tokens.json"
DATA = Path(os.environ["KVG_DATA"])
TEXTS = [
    "",
    " ",
    "Hello, world!",
    " leading and  doubled   spaces ",
    "line one\nline two\n\n\tindented\r\n",
    "def f(x):\n    return x**2  # 1234567890\n",
    "naïve café, Ελληνικά, 日本語, 🙂👩‍👩‍👧",
    "The passkey is 71432. Remember it.",
    "<s> </s> [INST] <unk> <0x0A>",
    "ﬁne ½ Å ① … \u00a0non-breaking",
    "a" * 40,
]
SENTENCEPIECE = [
    "tokenizers/mistral-7b-v0.3.model",
    "tokenizers/mistral-7b-v0.1.model",
    "tokenizers/llama2.model",
]
LONG_TEXT = "wikitext2/wiki.valid.raw"
LONG_BYTES = 100_000
LLAMA2C = "models/stories260K/tokenizer.bin"
STORIES = TEXTS + [
    "Once upon a time, there was a little girl named Lily. She loved to play outside.",
    "One day, she saw a big, red ball.\nShe said, \"Wow! Can I play with it?\"\n",
]


def digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def sentencepiece_rows(name):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DATA / name))
    rows = [
        {"text": text, "ids": (ids := processor.encode(text)), "decoded": processor.decode(ids)}
        for text in TEXTS
    ]
    text = (DATA / LONG_TEXT).read_bytes()[:LONG_BYTES]
    text = text[: text.rindex(b"\n") + 1]
    ids = processor.encode(text.decode())
    return {
        "vocab": processor.vocab_size(),
        "rows": rows,
        "long": {"text": LONG_TEXT, "bytes": len(text), "count": len(ids), "sha256": digest(ids)},
    }


def llama2c_rows(program):
    rows = []
    for text in STORIES:
        out = subprocess.run([program, DATA / LLAMA2C], input=text.encode(), capture_output=True)
        ids = [int(i) for i in out.stdout.decode().split(",") if i.strip()]
        rows.append({"text": text, "ids": ids})
    return {"vocab": 512, "rows": rows}


if __name__ == "__main__":
    golden = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in SENTENCEPIECE:
        golden[name] = sentencepiece_rows(name)
    if len(sys.argv) > 1:
        golden[LLAMA2C] = llama2c_rows(sys.argv[1])
    OUT.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(OUT, OUT.stat().st_size, "bytes")
