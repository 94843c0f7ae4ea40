"""What bounding the cache costs under one protocol, without and with differential attention.

    python3 scripts/audit/bounding_cost.py

From the records of the published studies: streams of text by prefill, the positions that the arms
were trained at (before 4,096). The cost is bounded minus unbounded, with the same attention, under
the same training seed, on the same streams; the interaction is CoDA's cost minus GQA's. Means over
the seeds; the lowest and highest are of a single seed and stream.
"""

import math

import common
import streams
from streams import METHODS, STUDIES, TRAINED


def interaction(cell):
    return (cell["coda-bounded"] - cell["coda"]) - (cell["gqa-bounded"] - cell["gqa"])


def cells(model, seed):
    """Nats a token of the four arms: over all streams, and stream by stream."""
    rows = {arm: streams.read(model, arm + seed, method)["prefill"]
            for arm, method in METHODS.items()}
    whole = {arm: streams.nats(found.values(), TRAINED) for arm, found in rows.items()}
    single = [{arm: streams.nats([found[index]], TRAINED) for arm, found in rows.items()}
              for index in rows["gqa"]]
    return whole, single


def main():
    args = common.parser(__doc__).parse_args()
    values = {}
    for model, (_, seeds) in STUDIES.items():
        found = [cells(model, seed) for seed in seeds]
        mean = {arm: sum(whole[arm] for whole, _ in found) / len(found) for arm in METHODS}
        single = [interaction(cell) for _, streams_of in found for cell in streams_of]
        gqa, coda = mean["gqa-bounded"] - mean["gqa"], mean["coda-bounded"] - mean["coda"]
        values |= {f"{model}.gqa": gqa, f"{model}.coda": coda,
                   f"{model}.gqa_percent": 100 * math.expm1(gqa),
                   f"{model}.coda_percent": 100 * math.expm1(coda),
                   f"{model}.interaction": coda - gqa, f"{model}.gqa_over_coda": gqa / coda,
                   f"{model}.interaction_lowest": min(single),
                   f"{model}.interaction_highest": max(single)}
    common.table(["cost of bounding", "value"], [[key, value] for key, value in values.items()])
    common.write(args.json, values, positions=TRAINED)


main()
