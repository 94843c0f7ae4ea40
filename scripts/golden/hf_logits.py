"""Writes model/formats/golden: small random checkpoints and the logits Hugging Face gives for them.

    python scripts/golden/hf_logits.py        (needs torch, transformers, safetensors)

Each folder is a checkpoint as transformers saves it (config.json, and model.safetensors or an
index with its parts), and expected.safetensors, also readable by the project's own reader:

    tokens  I32 [40]         random, the first one is BOS
    logits  F32 [40, vocab]  of the token after each, computed in fp32 from the stored weights

The weights are large enough that attention is far from uniform: matrices 1/sqrt(in), norms near 1.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

ROOT = Path(__file__).resolve().parents[2] / "model" / "formats" / "golden"
TOKENS = 40
COMMON = dict(
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=64,
    rms_norm_eps=1e-5,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
)


def rope(base):
    return {"rope_type": "default", "rope_theta": base}


# name: model class, config, stored type, number of files
CASES = {
    # Grouped heads, head_dim other than hidden / heads, a large RoPE base, an untied head.
    "llama-gqa": (
        LlamaForCausalLM,
        LlamaConfig(**COMMON, num_key_value_heads=2, head_dim=12, rope_parameters=rope(1e6)),
        torch.float32,
        1,
    ),
    # Biases on q, k, v and o, as many KV heads as heads, two files.
    "llama-bias-two-files": (
        LlamaForCausalLM,
        LlamaConfig(
            **COMMON | {"eos_token_id": [2, 3]}, num_key_value_heads=4, attention_bias=True
        ),
        torch.float16,
        2,
    ),
    # One KV head, three layers, a tied head.
    "mistral-tied-bf16": (
        MistralForCausalLM,
        MistralConfig(
            **COMMON | {"num_hidden_layers": 3, "intermediate_size": 24},
            num_key_value_heads=1,
            head_dim=16,
            sliding_window=None,
            tie_word_embeddings=True,
            rope_parameters=rope(1e4),
        ),
        torch.bfloat16,
        1,
    ),
    # A window of the checkpoint's own, shorter than the text, as Mistral v0.1 has it.
    "mistral-window": (
        MistralForCausalLM,
        MistralConfig(**COMMON, num_key_value_heads=2, head_dim=8, sliding_window=16),
        torch.bfloat16,
        1,
    ),
}


def randomise(model, generator):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator, device=generator.device)
            if name.endswith("norm.weight"):
                weight.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.3 * noise)
            else:
                weight.copy_(noise / weight.shape[1] ** 0.5)


def write_case(index, name, model_class, config, dtype, files):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(20 + index)
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    randomise(model, generator)
    model.to(dtype)
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=total // files + total // 8)
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert len(list(folder.glob("*.safetensors"))) == files

    tokens = torch.randint(3, config.vocab_size, (TOKENS,), generator=generator)
    tokens[0] = config.bos_token_id
    with torch.no_grad():
        # Loaded anew: casting the model above also rounded its RoPE frequencies to `dtype`.
        fresh = model_class.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        logits = fresh.eval()(tokens[None]).logits[0]
    expected = {"tokens": tokens.to(torch.int32), "logits": logits.contiguous()}
    save_file(expected, folder / "expected.safetensors")
    print(name, "logits between", logits.min().item(), "and", logits.max().item())


if __name__ == "__main__":
    for index, (name, case) in enumerate(CASES.items()):
        write_case(index, name, *case)
