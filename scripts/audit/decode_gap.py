"""The same stream predicted by decode steps and by prefill, by the arms of the published studies.

    python3 scripts/audit/decode_gap.py

From the records of the studies: one stream of 16,383 tokens that was scored both ways. Nats a token
by decode steps minus by prefill, of the whole stream; mean and widest of the training seeds, and
one seed of the arm with the published update rules, whose two paths differ.
"""

import common
import streams
from streams import METHODS, STUDIES


def gap(model, run, method):
    found = streams.read(model, run, method)
    by_steps, by_prefill = found["decode"][0], found["prefill"][0]
    return by_steps["nll"] / by_steps["tokens"] - by_prefill["nll"] / by_prefill["tokens"]


def main():
    args = common.parser(__doc__).parse_args()
    values = {}
    for model, (_, seeds) in STUDIES.items():
        for arm, method in METHODS.items():
            gaps = [gap(model, arm + seed, method) for seed in seeds]
            values[f"{model}.{arm}"] = sum(gaps) / len(gaps)
            values[f"{model}.{arm}.widest"] = max(gaps, key=abs)
    values["kvg-tiny.coda-published"] = gap("kvg-tiny", "coda-published-s0", "landmark")
    common.table(["decode minus prefill", "nats a token"],
                 [[key, value] for key, value in values.items()])
    common.write(args.json, values)


main()
