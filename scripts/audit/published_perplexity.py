"""Arithmetic on the published perplexities: what each headline number divides or subtracts.

    python3 scripts/audit/published_perplexity.py

The protocols, as the published programs have them (WikiText-2, Mistral-7B):
    E1  overlapping windows, stride 512, the last 512 tokens of each scored
    E2  chunks of the training length, state fresh for each, first 20k tokens
    E3  chunks of the stated length, state fresh for each, first 50k tokens
Needs no packages.
"""

import common

# value, protocol; the factorial prints four numbers without saying how each was evaluated.
BASE_E1 = 4.81
TRAINED_UNBOUNDED = 5.75
BOUNDED_E3 = {512: 6.36, 1024: 6.09, 2048: 5.94, 4096: 5.95, 8192: 6.87}
BOUNDED_E2_8K = 6.31
GQA_BOUNDED = 6.84


def main():
    args = common.parser(__doc__).parse_args()
    coda, gqa = BOUNDED_E3[2048] - TRAINED_UNBOUNDED, GQA_BOUNDED - TRAINED_UNBOUNDED
    values = {
        "overhead_percent": 100 * (BOUNDED_E3[2048] / BASE_E1 - 1),
        "overhead_over_trained_percent": 100 * (BOUNDED_E3[2048] / TRAINED_UNBOUNDED - 1),
        "training_alone_percent": 100 * (TRAINED_UNBOUNDED / BASE_E1 - 1),
        "penalty_gqa": gqa,
        "penalty_coda_e3_2k": coda,
        "penalty_coda_e2_8k": BOUNDED_E2_8K - TRAINED_UNBOUNDED,
        "penalty_coda_e3_8k": BOUNDED_E3[8192] - TRAINED_UNBOUNDED,
        "ratio_printed": gqa / coda,
        "ratio_with_e2_8k": gqa / (BOUNDED_E2_8K - TRAINED_UNBOUNDED),
        "ratio_with_e3_8k": gqa / (BOUNDED_E3[8192] - TRAINED_UNBOUNDED),
        "flat_2k_to_4k_percent": 100 * (BOUNDED_E3[4096] / BOUNDED_E3[2048] - 1),
        "step_4k_to_8k_percent": 100 * (BOUNDED_E3[8192] / BOUNDED_E3[4096] - 1),
    }
    common.table(["number", "value"], [[key, round(value, 3)] for key, value in values.items()])
    common.write(args.json, values)


main()
