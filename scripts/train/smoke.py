"""A few training steps of a very small model on generated text: no GPU, no data, under a minute."""

import pathlib
import tempfile

import numpy as np
import sentencepiece as spm
import torch

import code_items
import evaluate
import export
import messy
import tokenizer
from data import Problems
from model import Config, TinyLlama
from optim import Optimizer
from segments import TEXT

STEPS, ROWS, TOKENS = 40, 4, 256


def some_text(rng, sentences):
    nouns = "river letter garden engine window teacher market winter orange castle signal".split()
    verbs = "carries follows repairs forgets paints answers measures opens".split()
    for _ in range(sentences):
        a, b = rng.choice(nouns, 2)
        yield f"The {a} {rng.choice(verbs)} the {b} near the {rng.choice(nouns)}."


def main():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    lines = list(some_text(rng, 4000))
    facts = messy.FACTS.read_text().split("\n")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.model"
        path.write_bytes(tokenizer.train(lines + facts, 600, hard_vocab_limit=False))
        processor = spm.SentencePieceProcessor(model_file=str(path))
        text = np.array(
            processor.encode("\n".join(" ".join(lines[i : i + 5]) for i in range(0, 4000, 5))),
            np.uint16,
        )
        words = sorted({w for line in lines for w in line.lower().strip(".").split()})
        problems = Problems(processor, text, text, words, seed=1)
        check_problems(problems, words)
        model = TinyLlama(
            Config(
                vocab=processor.vocab_size(),
                layers=2,
                width=64,
                heads=2,
                kv_heads=1,
                head_dim=32,
                hidden=128,
                context=1024,
            )
        )
        first, last = train(model, problems)
        check_export(model, path, folder)
    print(f"loss {first:.3f} -> {last:.3f} in {STEPS} steps")
    assert last < first - 0.5, "the loss did not fall"


def check_problems(problems, words):
    """Every kind can be made, has the length asked for, and holds an answer."""
    tests = evaluate.Tests(
        problems.encoder.processor, problems.text.ids, problems.text.ids, words, messy.Facts(), 2
    )
    for kind in evaluate.KINDS:
        made = [item for item in (tests.item(kind, 1024) for _ in range(8)) if item is not None]
        assert made and all(len(item) == 1024 and (item.weights >= 20).any() for item in made), kind
    for kind in problems.kinds:
        makers = {
            "messy": problems.messy.problem,
            "code": lambda n: code_items.problem(n, problems.encoder, problems.draw, problems.code),
        }
        make = makers.get(kind) or getattr(problems.retrieval, kind)
        assert any(make(900) is not None for _ in range(8)), kind


def train(model, problems):
    optimizer, losses = Optimizer(model), []
    for step in range(STEPS):
        rows = [problems.row(TOKENS + 1) for _ in range(ROWS)]
        ids = torch.from_numpy(np.stack([r.ids for r in rows]).astype(np.int64))
        weights = torch.from_numpy(np.stack([r.weights for r in rows])).float() / TEXT
        loss = model.loss(ids[:, :-1], ids[:, 1:], weights[:, 1:]).mean()
        loss.backward()
        optimizer.step(min(1, (step + 1) / 10))
        losses.append(loss.item())
    return np.mean(losses[:4]), np.mean(losses[-4:])


def check_export(model, tokenizer_model, folder):
    folder = pathlib.Path(folder) / "export"
    export.write_folder(model, tokenizer_model, folder, 1024)
    again = export.read_folder(folder)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16().float())
        assert torch.equal(model(ids), again(ids)), "the export does not read back"
