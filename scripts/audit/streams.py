"""Streams of text in the records of the published studies: how well each arm predicted them."""

import gzip
import json
from collections import defaultdict

import claims

PUBLISHED = claims.FOLDER.parent
# Model: its study, and what the folders of runs end in, one for each training seed.
STUDIES = {"kvg-small": ("coda-2x2-small", ("",)),
           "kvg-tiny": ("coda-2x2", ("-s0", "-s1", "-s2"))}
METHODS = {"gqa": "full", "gqa-bounded": "landmark", "coda": "full", "coda-bounded": "landmark"}
TRAINED = 4096  # tokens in a row of the arms' training


def read(model, run, method):
    """{feed: {stream: row}} of an arm: `method` is the cache's name, without its settings."""
    path = PUBLISHED / STUDIES[model][0] / "runs" / run / "items.jsonl.gz"
    found = defaultdict(dict)
    with gzip.open(path, "rt") as file:
        for row in map(json.loads, file):
            if row["task"] != "perplexity" or row["method"].split("(")[0] != method:
                continue
            if "error" in row:
                raise claims.Broken(f"{model}: {run}: {row['key']}: {row['error']}")
            found[row["cell"].get("feed", "prefill")][row["index"]] = row
    return found


def nats(rows, end):
    """Nats a token of the positions before `end`, over streams."""
    spans = [span for row in rows for span in row["positions"] if span["to"] <= end]
    return sum(span["nll"] for span in spans) / sum(span["tokens"] for span in spans)
