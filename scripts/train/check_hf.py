"""Checks that an exported folder means the same to transformers as to the training module.

    python3 scripts/train/check_hf.py model/zoo/kvg-tiny

Float32 on the CPU: logits, greedy text, and the token ids of both tokenizers.
"""

import argparse
import pathlib

import sentencepiece as spm
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

import export
from write_golden import PROMPTS

TOLERANCE = 2e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    ours = export.read_folder(folder)
    theirs = LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    processor = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    code = "def f(x):\n    return x  # caf\u00e9 \u4e16\u754c 12345\n"
    failures = 0
    for text in [*PROMPTS.values(), code]:
        ids = [1, *processor.encode(text)]
        same_ids = tokenizer(text)["input_ids"] == ids
        with torch.no_grad():
            a, b = ours(torch.tensor([ids])), theirs(torch.tensor([ids])).logits
        worst = (a - b).abs().max().item()
        same_choice = bool((a.argmax(-1) == b.argmax(-1)).all())
        failures += not (same_ids and same_choice and worst < TOLERANCE)
        print(
            f"{len(ids):5d} tokens: ids {'same' if same_ids else 'DIFFER'}, "
            f"argmax {'same' if same_choice else 'DIFFERS'}, largest logit difference {worst:.1e}"
        )
    raise SystemExit(f"{failures} of the texts differ" if failures else 0)


if __name__ == "__main__":
    main()
