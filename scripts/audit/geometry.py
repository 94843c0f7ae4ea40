"""Geometries of the published tables, and the bytes of caches at them. No packages needed."""

from typing import NamedTuple

KIB, MIB, GIB = 2**10, 2**20, 2**30


class Layer(NamedTuple):
    embed: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int  # of the model; 1 for a layer that stands alone
    preset: str  # kvgauge's geometry with the same heads of keys and values


class Banks(NamedTuple):
    window: int
    exact: int
    summary: int


LAYERS = {
    "test": Layer(512, 8, 2, 64, 1, "kvg-tiny"),
    "mistral-7b": Layer(4096, 32, 8, 128, 32, "mistral-7b"),
    "70b": Layer(8192, 64, 8, 128, 80, "llama-3-70b"),
}

BANKS = {
    "tiny": Banks(128, 32, 32),
    "medium": Banks(256, 64, 64),
    "large": Banks(512, 128, 128),
}


def state_parts(layer, banks, element=2):
    """Bytes of one layer's bounded state, one sequence, as the published package counts them."""
    slots = banks.window + banks.exact + banks.summary
    return {
        "kv": 2 * layer.kv_heads * slots * layer.head_dim * element,
        # Normalised copies that routing reads: values of the exact bank, the upper half of the
        # keys of the summary bank.
        "exact_norm": layer.kv_heads * banks.exact * layer.head_dim * element,
        "summary_norm": layer.kv_heads * banks.summary * (layer.head_dim // 2) * element,
        # fp32 gates of the window, a flag a slot, an int64 stamp for each exact slot.
        "bookkeeping": 4 * banks.window + slots + 8 * banks.exact,
    }


def state_bytes(layer, banks):
    return sum(state_parts(layer, banks).values())


def dense_bytes(layer, tokens, element=2):
    """Keys and values of one layer that keeps every token."""
    return 2 * layer.kv_heads * layer.head_dim * element * tokens
