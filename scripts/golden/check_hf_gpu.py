"""Compares kvgauge with Hugging Face transformers on one GPU, on a random Mistral checkpoint.

    python3 scripts/golden/check_hf_gpu.py build/kvgauge            (needs torch, transformers)

Three computations of the same bf16 weights: transformers in fp32 (the judge), transformers in bf16,
and kvgauge (bf16 in memory). kvgauge passes when it is about as far from the judge as the other
bf16 computation is. The weights are those of hf_logits.py: large enough that attention is far from
uniform. With --ops cpu and --device cpu it runs without a GPU.
"""

import argparse
import pathlib
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForCausalLM

from hf_logits import randomise, rope


def make_checkpoint(folder, options):
    config = MistralConfig(
        hidden_size=options.hidden,
        intermediate_size=options.ffn,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=options.head_dim,
        vocab_size=options.vocab,
        max_position_embeddings=32768,
        sliding_window=None,
        rms_norm_eps=1e-5,
        rope_parameters=rope(1e6),
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.device(options.device):
        model = MistralForCausalLM(config)
    randomise(model, torch.Generator(options.device).manual_seed(options.seed))
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def hf_logits(folder, tokens, dtype, device):
    # Loaded anew: casting a model also rounds its RoPE frequencies.
    model = MistralForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    with torch.no_grad():
        return model.eval().to(device)(tokens[None].to(device)).logits[0].float().cpu()


def kvgauge_logits(folder, tokens, options, chunk):
    save_file({"tokens": tokens.to(torch.int32)}, folder / "tokens.safetensors")
    out = folder / "logits.safetensors"
    command = [options.program, "inspect", "logits", "--model", folder, "--ops", options.ops]
    command += ["--method", "full", "--tokens", folder / "tokens.safetensors", "--out", out]
    subprocess.run([*map(str, command), "--chunk", str(chunk)], check=True)
    return load_file(out)["logits"]


def compare(name, logits, judge):
    error = ((logits - judge).norm() / judge.norm()).item()
    kl = torch.nn.functional.kl_div(
        logits.log_softmax(-1), judge.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    same = (logits.argmax(-1) == judge.argmax(-1)).float().mean().item()
    print(
        f"{name:24s} error {error:.2e}  KL mean {kl.mean():.2e} max {kl.max():.2e}  "
        f"same choice {100 * same:.1f} %"
    )
    return error


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--ops", default="cuda")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--ffn", type=int, default=14336)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--tokens", type=int, default=700)
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    generator = torch.Generator().manual_seed(options.seed)
    tokens = torch.randint(3, options.vocab, (options.tokens,), generator=generator)
    tokens[0] = 1
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_checkpoint(folder, options)
        judge = hf_logits(folder, tokens, torch.float32, options.device)
        theirs = compare(
            "transformers bf16",
            hf_logits(folder, tokens, torch.bfloat16, options.device),
            judge,
        )
        ours = []
        for chunk in (0, 100):
            logits = kvgauge_logits(folder, tokens, options, chunk)
            ours.append(compare(f"kvgauge chunk {chunk or 'default'}", logits, judge))
    if not max(ours) <= 1.25 * theirs:
        raise SystemExit(f"kvgauge is off by {max(ours):.2e}, transformers in bf16 by {theirs:.2e}")


if __name__ == "__main__":
    main()
