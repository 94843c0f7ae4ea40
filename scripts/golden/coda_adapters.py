"""Writes model/formats/golden/mistral-coda: adapters as the package coda-gqa-l (1.3.1) trains and
saves them, beside a small Mistral checkpoint, and the logits that the package gives for both.

    python scripts/golden/coda_adapters.py        (needs torch, transformers, safetensors, coda-gqa-l)

config.json, model.safetensors   the base model, bf16
phase2/coda_adapters.pt          bf16, bounded adapters (write gates, summary rates)
phase1/coda_adapters.pt          bf16, the same weights from unbounded adapters, which have neither
expected.safetensors             the first token is BOS; fp32 from the stored weights:
  tokens            I32 [48]
  unbounded         F32 [48, vocab]  phase 1, plain causal attention, RoPE base of the base model
  bounded_prefill   F32 [48, vocab]  phase 2, one call; RoPE base 10000, as train_coda.py fixes it
  bounded_decode    F32 [48, vocab]  phase 2, a call of 29 tokens, then one token a call
  gateless_decode   F32 [48, vocab]  as bounded_decode, phase 1: gates as the package leaves them

The banks start as zeros. As in coda_landmark.py, topk orders ties as on a GPU.
"""

import shutil
import warnings
from pathlib import Path

import coda_gqa_l.memory_banks as memory_banks
import torch
from coda_gqa_l import LlamaCoDAAdapter
from safetensors.torch import save_file
from transformers import MistralConfig, MistralForCausalLM

from coda_landmark import TorchWithCudaOrder
from hf_logits import COMMON, randomise, rope

FOLDER = Path(__file__).resolve().parents[2] / "model/formats/golden/mistral-coda"
BASE_ROPE = 1e6
PHASE2_ROPE = 1e4
TOKENS, PREFILL = 48, 29
BANKS = dict(window=8, num_landmarks_exact=4, num_landmarks_summary=4, block_size=8,
             exact_candidates_per_block=3, mem_init="zeros")


def base_model():
    return MistralForCausalLM.from_pretrained(
        FOLDER, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def swap(model, rope_base, **options):
    """The package's adapters in place of the attention. It reads the RoPE base from an attribute
    that transformers 5 no longer has, so its adapters are made here as its own code makes them."""
    config = model.config
    adapters = []
    for block in model.model.layers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapter = LlamaCoDAAdapter.from_llama_attention(block.self_attn, **options)
        made = LlamaCoDAAdapter(
            config.hidden_size, config.num_attention_heads, config.num_key_value_heads,
            config.head_dim, rope_theta=rope_base, **options)
        made.load_state_dict(adapter.state_dict())
        block.self_attn = made.eval()
        adapters.append(made)
    return adapters


def train(adapters, generator):
    """Something far from the start in every parameter that attention has."""
    with torch.no_grad():
        for adapter in adapters:
            for name, weight in adapter.coda.named_parameters():
                noise = torch.randn(weight.shape, generator=generator)
                if name == "theta":
                    weight.copy_(noise)
                elif name == "lambda_proj.bias":
                    weight.copy_(-1 + 0.3 * noise)
                elif name == "write_proj.bias":
                    weight.copy_(-0.5 + 0.3 * noise)
                elif name == "summary_eta_logit":
                    weight.copy_(-1.5 + 0.5 * noise)
                else:
                    weight.copy_(noise * (1.5 if name == "write_proj.weight" else 1)
                                 / weight.shape[1] ** 0.5)


def save(adapters, folder):
    """As save_checkpoint() of train_coda.py, from adapters in bf16."""
    folder.mkdir()
    state = {f"layer_{i}": a.to(torch.bfloat16).state_dict() for i, a in enumerate(adapters)}
    torch.save(state, folder / "coda_adapters.pt")


def load(adapters, folder):
    """As the package's own loaders do: what the file lacks stays as it was made."""
    state = torch.load(folder / "coda_adapters.pt", weights_only=True)
    for i, adapter in enumerate(adapters):
        adapter.load_state_dict(state[f"layer_{i}"], strict=False)


def logits(model, tokens, calls):
    parts, done = [], 0
    with torch.no_grad():
        for n in calls:
            parts.append(model(tokens[None, done : done + n], use_cache=False).logits[0])
            done += n
    return torch.cat(parts).contiguous()


def write_checkpoints(generator):
    shutil.rmtree(FOLDER, ignore_errors=True)
    config = MistralConfig(**COMMON, num_key_value_heads=2, head_dim=8, sliding_window=None,
                           rope_parameters=rope(BASE_ROPE))
    model = MistralForCausalLM(config)
    randomise(model, generator)
    model.to(torch.bfloat16).save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink(missing_ok=True)
    bounded = swap(base_model(), PHASE2_ROPE, bounded=True, **BANKS)
    train(bounded, generator)
    save(bounded, FOLDER / "phase2")
    unbounded = swap(base_model(), BASE_ROPE)
    load(unbounded, FOLDER / "phase2")
    save(unbounded, FOLDER / "phase1")


def run(phase, rope_base, tokens, calls, **options):
    model = base_model()
    load(swap(model, rope_base, **options), FOLDER / phase)
    return logits(model, tokens, calls)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    memory_banks.torch = TorchWithCudaOrder()
    generator = torch.Generator().manual_seed(30)
    write_checkpoints(generator)
    tokens = torch.randint(3, COMMON["vocab_size"], (TOKENS,), generator=generator)
    tokens[0] = COMMON["bos_token_id"]
    bounded = dict(bounded=True, **BANKS)
    decode = [PREFILL] + [1] * (TOKENS - PREFILL)
    expected = {
        "tokens": tokens.to(torch.int32),
        "unbounded": run("phase1", BASE_ROPE, tokens, [TOKENS]),
        "bounded_prefill": run("phase2", PHASE2_ROPE, tokens, [TOKENS], **bounded),
        "bounded_decode": run("phase2", PHASE2_ROPE, tokens, decode, **bounded),
        "gateless_decode": run("phase1", PHASE2_ROPE, tokens, decode, **bounded),
    }
    save_file(expected, FOLDER / "expected.safetensors")
    for name, value in list(expected.items())[1:]:
        print(name, "logits between", value.min().item(), "and", value.max().item(),
              "off unbounded by", (value - expected["unbounded"]).abs().max().item())


if __name__ == "__main__":
    main()
