"""Writes golden.json: what the shipped weights say to a few prompts, for tests of other runtimes.

    python3 scripts/train/write_golden.py model/zoo/kvg-tiny

Float32 on the CPU, bf16 weights upcast. Per prompt: token ids (BOS first), the ten largest logits
of the last position, the sum of the negative log-likelihoods of all tokens after BOS (in nats), and
24 tokens of greedy continuation.
"""

import argparse
import json
import pathlib

import sentencepiece as spm
import torch
import torch.nn.functional as F

import export

CONTINUATION, TOP = 24, 10

VILLAGE = (
    "The village lies on the east bank of the river, between two low hills, and has been "
    "settled since the early Middle Ages. A wooden bridge was first mentioned in the records "
    "of the abbey, which owned the mill and most of the fields around it. In the seventeenth "
    "century the bridge was burned twice, and each time the people of the valley rebuilt it "
    "within a year. The present bridge, made of gray stone, was opened in the spring of 1834, "
    "and it was used by carts until the railway came. The station stands a mile to the south. "
    "For a long time it was the busiest in the district, because the quarry sent its stone "
    "from there to the cities on the coast. When the quarry was closed, many families moved "
    "away, and the school lost half of its children. "
)
VALLEY = (
    "The road to the village follows the river for most of the way. It was a path for mules "
    "until the county paid for gravel and ditches, and even now two cars can hardly pass each "
    "other at the narrow places. In dry summers the water is so low that children walk across "
    "it, and in wet springs it covers the lower meadows for weeks. The farmers do not "
    "complain, since the mud makes the grass grow. A doctor comes twice a week from the town, "
    "the post comes every day, and the newspaper comes when somebody remembers to fetch it. "
)
NOTE = "The pass key is 48213. Remember it. 48213 is the pass key. "
LATER = (
    "Today the village is known for its market, which is held every Thursday on the square "
    "before the church. Farmers from the hills bring cheese, apples and honey, and in the "
    "autumn there is a fair with music and dancing. The old mill has been turned into a small "
    "museum. It shows the tools of the quarry, the uniforms of the fire brigade, and a model "
    "of the wooden bridge. The church has a tower of brick and a bell that was cast in 1652. "
    "On clear days one can see the sea from the top of the tower, and the keeper will tell "
    "every visitor the story of the winter in which the river froze and the market was held "
    "on the ice. Nobody in the village remembers that winter, but everybody knows the story. "
)
QUESTION = "What is the pass key? The pass key is"
PROMPTS = {
    "plain": "The history of the city begins in the",
    "code": "int add(int a, int b) {\n  return",
    "lookup": "The magic number for blue-lamp is 70416. The magic number for red-door is 35982. "
    "What is the magic number for blue-lamp? The magic number for blue-lamp is",
    "passkey": VILLAGE + NOTE + VALLEY + LATER + QUESTION,
}


@torch.no_grad()
def describe(model, processor, text):
    ids = [1, *processor.encode(text)]
    logits = model(torch.tensor([ids]))[0]
    values, top = logits[-1].topk(TOP)
    nll = F.cross_entropy(logits[:-1].double(), torch.tensor(ids[1:]), reduction="sum").item()
    more = list(ids)
    for _ in range(CONTINUATION):
        more.append(model(torch.tensor([more]))[0, -1].argmax().item())
    return {
        "text": text,
        "ids": ids,
        "top_ids": top.tolist(),
        "top_logits": [round(v, 5) for v in values.tolist()],
        "nll": round(nll, 5),
        "continuation_ids": more[len(ids) :],
        "continuation": processor.decode(more[len(ids) :]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    model = export.read_folder(folder)
    processor = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    golden = {name: describe(model, processor, text) for name, text in PROMPTS.items()}
    entries = ",\n".join(
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in g.items())
        + "\n }"
        for name, g in golden.items()
    )
    (folder / "golden.json").write_text("{\n" + entries + "\n}\n")
    for name, g in golden.items():
        print(f"{name}: {len(g['ids'])} tokens, nll {g['nll']:.3f}, {g['continuation']!r}")


if __name__ == "__main__":
    main()
