"""What the two published perplexity protocols give for one and the same dense model.

    python3 scripts/audit/protocol_gap.py --kvgauge build/cpu/kvgauge

The base model's 4.81 was measured with overlapping windows (2,048, stride 512, the last 512 of
each scored), the bounded model's 5.94 with chunks of 2,048 that start from nothing. Here the model
that ships with kvgauge, full cache, the same tokens of WikiText-2 under both. Needs
$KVG_DATA/wikitext2 and no packages.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

import common

PROTOCOLS = {"overlapping": "stride(2048,512)", "chunks": "window(2048)"}
TOKENS = "32k"


def items(program, folder):
    """The rows of one run with both protocols: one row a window."""
    command = [program, "eval", "--methods", "full", "--tasks", "perplexity", "--data", "wikitext2",
               "--set", f"perplexity.tokens={TOKENS}", "--controls", "none", "--no-report",
               "--set", f"perplexity.protocol={','.join(PROTOCOLS.values())}",
               "--run-folder", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"protocol_gap: {done.stderr.strip()}")
    lines = (pathlib.Path(folder) / "items.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def perplexity(rows, protocol):
    rows = [row for row in rows if row["cell"]["protocol"] == protocol]
    tokens = sum(span["tokens"] for row in rows for span in row["positions"])
    return math.exp(sum(row["nll"] for row in rows) / tokens)


def main():
    args = common.parser(__doc__)
    args.add_argument("--kvgauge", default="build/cpu/kvgauge", help="the program")
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = items(args.kvgauge, folder)
    values = {name: perplexity(rows, protocol) for name, protocol in PROTOCOLS.items()}
    values["chunks_worse_percent"] = 100 * (values["chunks"] / values["overlapping"] - 1)
    common.table(["kvg-tiny, full cache, WikiText-2", "perplexity"],
                 [[protocol, values[name]] for name, protocol in PROTOCOLS.items()])
    print(f"chunks are {values['chunks_worse_percent']:.1f} % worse, on the same text")
    common.write(args.json, values, model="kvg-tiny", tokens=TOKENS)


main()
