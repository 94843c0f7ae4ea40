"""Prefill and decode rates of single layers at the published geometries, in bf16, on a CUDA GPU.

    python scripts/audit/rates.py --json FILE

The published package's layers: plain GQA, CoDA with a whole cache, and bounded configurations.
Decode is timed twice: as the published benchmark does (min(200, window + 4) steps, 5 to warm up,
50 timed), and after a prefill of 1,024 tokens, when every step evicts; for layers with a whole
cache the second is at 4,096 tokens and lets the query see them. Medians of CUDA events. Takes less
than a minute.
"""

import coda
import common
import timing
import torch
from geometry import BANKS, LAYERS, Banks

CONFIGURATIONS = {"medium": BANKS["medium"], "window-only": Banks(256, 0, 0),
                  "tiny": BANKS["tiny"]}
PREFILLS = {"test": (4096,), "70b": (2048, 8192)}
BLOCK, STEPS, DTYPE = 256, 50, torch.bfloat16


def tokens(layer, count):
    return torch.randn(1, count, layer.embed, device="cuda", dtype=DTYPE)


def make(build):
    with torch.device("cuda"):
        return build().to(DTYPE)


def whole_cache(layer, module, values, key):
    for count in PREFILLS[key.split(".")[0]]:
        x = tokens(layer, count)
        ms = timing.median_ms(lambda _: module(x), repeats=9)
        values[f"{key}.prefill.{count}"] = count / ms * 1e3
    x = tokens(layer, 1)
    for name, cached, arguments in (("published", 205, {}), ("long", 4096, {"is_causal": False})):
        _, filled = module(tokens(layer, cached))

        def decode(cache):
            for _ in range(STEPS):
                _, cache = module(x, past_key_value=cache, **arguments)

        ms = timing.median_ms(decode, repeats=3, prepare=lambda: filled, warm_up=1)
        values[f"{key}.decode.{name}"] = STEPS / ms * 1e3


def bounded(layer, module, values, key):
    def state():
        return coda.fresh(module, DTYPE, "cuda")

    for count in PREFILLS[key.split(".")[0]]:
        x = tokens(layer, count)
        ms = timing.median_ms(lambda s: module.prefill_chunked(x, s, block_size=BLOCK), repeats=5,
                              prepare=state)
        values[f"{key}.prefill.{count}"] = count / ms * 1e3
    x = tokens(layer, 1)

    def decode(s):
        for _ in range(STEPS):
            module.step(x, s)

    def filled():
        s = state()
        for _ in range(min(200, module.window + 4) + 5):
            module.step(x, s)
        return s

    def evicting():
        s = state()
        module.prefill_chunked(tokens(layer, 1024), s, block_size=BLOCK)
        return s

    for name, prepare in (("published", filled), ("evicting", evicting)):
        ms = timing.median_ms(decode, repeats=3, prepare=prepare, warm_up=1)
        values[f"{key}.decode.{name}"] = STEPS / ms * 1e3


def measured(measure, layer, module, values, key):
    """A configuration that cannot run is reported and leaves its values out; the others go on."""
    try:
        measure(layer, module, values, key)
    except Exception as error:  # PyTorch and Triton have no type in common
        print(f"{key}: {type(error).__name__}: {str(error).splitlines()[0]}")


def as_installed(values):
    """Whether a prefill that evicts runs at all with the kernels that the package ships."""
    layer = LAYERS["test"]
    module = make(lambda: coda.bounded(layer, BANKS["medium"]))
    try:
        module.prefill_chunked(tokens(layer, 1024), coda.fresh(module, DTYPE, "cuda"))
        values["as_installed.prefill_runs"] = True
    except Exception as error:  # PyTorch and Triton have no type in common
        values["as_installed.prefill_runs"] = False
        print(f"with its own summary kernel: {type(error).__name__}: {str(error).splitlines()[0]}")


def compare(values, name, count):
    """The ratios that are spoken of, where both sides ran."""
    for key, over, under in (
            ("prefill_slower", f"plain.prefill.{count}", f"medium.prefill.{count}"),
            ("prefill_slower_than_unbounded", f"unbounded.prefill.{count}",
             f"medium.prefill.{count}"),
            ("eviction_slows_decode", "medium.decode.published", "medium.decode.evicting")):
        if f"{name}.{over}" in values and f"{name}.{under}" in values:
            values[f"{name}.{key}"] = values[f"{name}.{over}"] / values[f"{name}.{under}"]


def main():
    args = common.parser(__doc__).parse_args()
    timing.require_cuda("rates")
    values = {}
    with torch.inference_mode():
        as_installed(values)
        coda.no_summary_kernel()
        for name, layer in LAYERS.items():
            if name not in PREFILLS:
                continue
            measured(whole_cache, layer, make(lambda: coda.plain(layer)), values, f"{name}.plain")
            measured(whole_cache, layer, make(lambda: coda.unbounded(layer)), values,
                     f"{name}.unbounded")
            for banks_name, banks in CONFIGURATIONS.items():
                measured(bounded, layer, make(lambda: coda.bounded(layer, banks)), values,
                         f"{name}.{banks_name}")
            compare(values, name, PREFILLS[name][-1])
    rows = [[key, value] for key, value in values.items()]
    common.table(["tokens/s, and ratios", "value"], rows)
    common.write(args.json, values, **coda.versions(), **timing.device())


main()
